"""The fuzzed parsers: functions that take bytes and return a documented outcome, or raise."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from models.errors import ImageError
from models.manifest import ImageRecipe
from models.preprocess import decode_image
from service.errors import ServiceError, describe
from service.tuning.archives import LabelledArchive, open_archive
from tests.fuzz import seeds
from tests.fuzz.app import FaultError, ServiceUnderTest
from tests.fuzz.mutate import Rng, mutated, with_png_checksums
from tests.fuzz.requests import mutated_request

__all__ = ["TARGETS", "Target"]

RECIPE = ImageRecipe(32, 32, 36, (0.5,) * 3, (0.25,) * 3)
MAX_PIXELS = 1_000_000
MAX_IMAGE_BYTES = 200_000
Function = Callable[[bytes], str]
CLASSES = {f"class {index}": index for index in range(5)}


@dataclass(frozen=True)
class Target:
    """A parser to fuzz.

    Attributes:
        seeds: makes the valid inputs.
        words: texts that have a meaning for the parser.
        change: makes an input from the valid ones and the words.
        ready: a context manager that provides the function to fuzz.
        share: how many of a hundred inputs this target gets.

    """

    seeds: Callable[[], list[bytes]]
    words: Sequence[bytes]
    change: Callable[[Rng, Sequence[bytes], Sequence[bytes]], bytes]
    ready: Callable[[], AbstractContextManager[Function]]
    share: int

    def input(self, name: str, seed: int, number: int) -> bytes:
        """Return the input with a number; it does not depend on the inputs before it."""
        return self.change(Rng(f"{name}/{seed}/{number}"), self.valid_inputs, self.words)

    @cached_property
    def valid_inputs(self) -> list[bytes]:
        """The inputs to mutate."""
        return self.seeds()


def mutated_picture(rng: Rng, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Return a nearly valid picture; most PNG files have correct checksums."""
    data = mutated(rng, seeds, words)
    return with_png_checksums(data) if data[:4] == b"\x89PNG" and rng.random() < 0.9 else data


def decode(data: bytes) -> str:
    """Decode a picture: the result is an image of the recipe's shape, or a refusal."""
    try:
        image = decode_image(data, RECIPE, max_pixels=MAX_PIXELS)
    except ImageError as error:
        return _refused(error)
    if image.shape != (RECIPE.height, RECIPE.width, 3) or image.dtype != "uint8":
        raise FaultError(f"decoded into {image.dtype} {image.shape}")
    return "good"


def unpack(data: bytes) -> str:
    """Open an archive and read every picture in it."""
    try:
        archive = open_archive(io.BytesIO(data), CLASSES, max_files=100, max_image_bytes=MAX_IMAGE_BYTES)
    except ServiceError as error:
        return _refused(error)
    outcomes = {_read(archive, index) for index in range(len(archive))}
    return "good" if outcomes == {"good"} else "good in part"


def _read(archive: LabelledArchive, index: int) -> str:
    archive.name(index).encode()
    try:
        size = len(archive.read(index))
    except ImageError as error:
        return _refused(error)
    if size > MAX_IMAGE_BYTES:
        raise FaultError(f"{size} bytes unpacked")
    return "good"


def _refused(error: Exception) -> str:
    """Return the error's code, and check its message, which a client would see."""
    told = describe(error)
    if told.status >= 500 or not 15 < len(told.message) < 1500:
        raise FaultError(f"{told.status} {told.code}, or no message: {told.message[:200]!r}")
    return told.code


@contextmanager
def _plain(function: Function) -> Iterator[Function]:
    yield function


@contextmanager
def _service() -> Iterator[Function]:
    with TemporaryDirectory() as folder:
        service = ServiceUnderTest(Path(folder))
        yield service.send
        service.close()


TARGETS = {
    "image": Target(seeds.pictures, seeds.PICTURE_WORDS, mutated_picture, lambda: _plain(decode), 40),
    "archive": Target(seeds.archives, seeds.ARCHIVE_WORDS, mutated, lambda: _plain(unpack), 16),
    "infer": Target(seeds.infer_requests, seeds.REQUEST_WORDS, mutated_request, _service, 16),
    "form": Target(seeds.forms, seeds.REQUEST_WORDS, mutated_request, _service, 10),
    "json": Target(seeds.json_requests, seeds.REQUEST_WORDS, mutated_request, _service, 8),
    "query": Target(seeds.queries, seeds.REQUEST_WORDS, mutated_request, _service, 10),
}
