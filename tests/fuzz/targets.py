"""What is fuzzed: functions of bytes that say what came of them, as far as that is documented, and raise else."""

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
    """One parser.

    Args:
        seeds: makes the good inputs.
        words: what means something to it.
        change: makes an input of them.
        ready: makes the function, and ends what it needed.
        share: of every hundred inputs.

    """

    seeds: Callable[[], list[bytes]]
    words: Sequence[bytes]
    change: Callable[[Rng, Sequence[bytes], Sequence[bytes]], bytes]
    ready: Callable[[], AbstractContextManager[Function]]
    share: int

    def input(self, name: str, seed: int, number: int) -> bytes:
        """Return the input of a number: always the same, whatever came before it."""
        return self.change(Rng(f"{name}/{seed}/{number}"), self.good, self.words)

    @cached_property
    def good(self) -> list[bytes]:
        """The good inputs."""
        return self.seeds()


def mutated_picture(rng: Rng, good: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Return a picture that is nearly good; a PNG file's checksums fit, most of the time."""
    data = mutated(rng, good, words)
    return with_png_checksums(data) if data[:4] == b"\x89PNG" and rng.random() < 0.9 else data


def decode(data: bytes) -> str:
    """Decode a picture: it has the recipe's shape, or is refused."""
    try:
        pixels = decode_image(data, RECIPE, max_pixels=MAX_PIXELS)
    except ImageError as error:
        return _refused(error)
    if pixels.shape != (RECIPE.height, RECIPE.width, 3) or pixels.dtype != "uint8":
        raise FaultError(f"decoded into {pixels.dtype} {pixels.shape}")
    return "good"


def unpack(data: bytes) -> str:
    """Open an archive and read every picture in it, as far as it is not refused."""
    try:
        archive = open_archive(io.BytesIO(data), CLASSES, max_files=100, max_image_bytes=MAX_IMAGE_BYTES)
    except ServiceError as error:
        return _refused(error)
    come_of = {_read(archive, index) for index in range(len(archive))}
    return "good" if come_of == {"good"} else "good in part"


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
    """Return the code it is refused with; as for a client, the message has to be a sentence."""
    told = describe(error)
    if told.status >= 500 or not 15 < len(told.message) < 1500:
        raise FaultError(f"{told.status} {told.code}, or no sentence: {told.message[:200]!r}")
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
