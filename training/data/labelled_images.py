"""Labelled images for a training loop: indices in, uint8 pixels out.

If all pixels fit into memory, they are decoded once into one array; an epoch then costs one indexing operation per
batch. Otherwise each batch is decoded on demand, in threads. Both give the same pixels.

Missing and damaged pictures are left out before anything is counted: class counts, groups and the mean feature describe
the pictures that the model is trained on. If the pixels do not fit into memory, this takes one pass over all files,
which is made only if some pictures may be unreadable. If none may, the first unreadable picture ends the run.
"""

import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from models.errors import ImageError
from models.manifest import ImageRecipe
from models.preprocess import decode_image, decode_region
from models.sentences import first_few
from training.data.augmentation.random_crops import RandomCrops, mirror
from training.data.labelled_files import LabelledFiles
from training.errors import DataError
from training.progress import images_progress

__all__ = ["MAX_PIXEL_BYTES", "READ_ERRORS", "LabelledImages", "check_no_class_lost", "load_images"]

MAX_PIXEL_BYTES = 4 << 30
READ_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
)  # what reading a picture may raise
BATCH = 256

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LabelledImages:
    """N images with their labels.

    Attributes:
        files: the pictures, read on demand if `pixels` is None.
        recipe: how a picture becomes (H, W, 3) pixels.
        pixels: (N, H, W, 3) uint8, or None if they do not fit into memory.
        unreadable: names of the pictures that were left out.

    """

    files: LabelledFiles
    recipe: ImageRecipe
    pixels: Pixels | None
    unreadable: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return N."""
        return len(self.files)

    @property
    def classes(self) -> tuple[str, ...]:
        """C class names."""
        return self.files.classes

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) indices into `classes`."""
        return self.files.labels

    @property
    def class_counts(self) -> npt.NDArray[np.int64]:
        """(C,) images per class."""
        return self.files.class_counts

    def fetch(self, indices: npt.NDArray[np.int64], crops: RandomCrops | None = None) -> Pixels:
        """Return the pixels of some images.

        Args:
            indices: (B,) of the images.
            crops: B random crops to cut from the pixels in memory or from the full pictures, and to resize to (H, W);
                None prepares the images as for evaluation.

        Returns:
            (B, H, W, 3) uint8.

        Raises:
            DataError: a picture cannot be read.

        """
        if self.pixels is not None:
            pixels = self.pixels[indices]
            return pixels if crops is None else crops.cut(torch.from_numpy(pixels), *pixels.shape[1:3]).numpy()
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            found = _decode(self.files, [self.files.names[i] for i in indices], self.recipe, threads, crops)
        if unreadable := [result for result in found if isinstance(result, _Unreadable)]:
            raise DataError(_message(self.files, unreadable))
        pixels = np.stack([result for result in found if not isinstance(result, _Unreadable)])
        return pixels if crops is None else mirror(torch.from_numpy(pixels), torch.from_numpy(crops.flip)).numpy()


def load_images(
    files: LabelledFiles,
    recipe: ImageRecipe,
    *,
    max_unreadable: float = 0.0,
    every_class: bool = True,
    memory_bytes: int = MAX_PIXEL_BYTES,
) -> LabelledImages:
    """Decode a part into one uint8 array, or prepare to decode batch by batch if that would exceed `memory_bytes`.

    Pictures that cannot be read are left out, up to a share, and reported on standard error.

    Args:
        files: N pictures.
        recipe: how a picture becomes pixels.
        max_unreadable: the share of N that may be missing or damaged.
        every_class: whether each class with pictures must keep one, as training requires.
        memory_bytes: the largest size of the array.

    Raises:
        DataError: too many pictures cannot be read, or none of all or of a class; the message names files.

    """
    fits = len(files) * recipe.height * recipe.width * 3 <= memory_bytes
    pixels = np.empty((len(files) if fits else 0, recipe.height, recipe.width, 3), np.uint8)
    if not fits and not max_unreadable:
        return LabelledImages(files, recipe, None)
    filled = 0
    readable = np.ones(len(files), dtype=bool)
    unreadable: list[_Unreadable] = []
    with images_progress() as progress, ThreadPoolExecutor(torch.get_num_threads()) as threads:
        task = progress.add_task("reading" if fits else "checking pictures", total=len(files))
        for start in range(0, len(files), BATCH):
            names = files.names[start : start + BATCH]
            for index, found in enumerate(_decode(files, names, recipe, threads), start):
                if isinstance(found, _Unreadable):
                    unreadable.append(found)
                    readable[index] = False
                elif fits:
                    pixels[filled] = found
                    filled += 1
            if len(unreadable) > max_unreadable * len(files):
                raise DataError(_message(files, unreadable, max_unreadable))
            progress.advance(task, len(names))
    if not unreadable:
        return LabelledImages(files, recipe, pixels if fits else None)
    kept = files.part(readable)
    if every_class:
        check_no_class_lost(files, kept)
    warning = _list_unreadable(files, unreadable)
    Console(stderr=True, highlight=False).print(warning, markup=False, soft_wrap=True, style="yellow")
    return LabelledImages(kept, recipe, pixels[:filled] if fits else None, tuple(file.name for file in unreadable))


@dataclass(frozen=True)
class _Unreadable:
    """A picture that cannot be read."""

    name: str
    why: str


def _decode(
    files: LabelledFiles,
    names: Sequence[str],
    recipe: ImageRecipe,
    threads: ThreadPoolExecutor,
    crops: RandomCrops | None = None,
) -> list[Pixels | _Unreadable]:
    def decode_one(number: int, name: str) -> Pixels | _Unreadable:
        try:
            picture = files.read(name)
            if crops is None:
                return decode_image(picture, recipe)
            return decode_region(picture, partial(crops.box, number), height=recipe.height, width=recipe.width)
        except ImageError as error:
            return _Unreadable(name, str(error))
        except READ_ERRORS as error:
            return _Unreadable(name, f"cannot be read ({error})")

    return list(threads.map(decode_one, count(), names))


def _message(files: LabelledFiles, unreadable: list[_Unreadable], allowed: float = 0.0) -> str:
    first = unreadable[0]
    if not allowed:
        return (
            f"{files.source}: {first.name}: {first.why}; repair or remove this file, or allow a share of unreadable "
            "pictures with --max-unreadable"
        )
    return (
        f"{_list_unreadable(files, unreadable)}. That is more than --max-unreadable {allowed:g} allows; repair or "
        "remove them, or check --data and --images"
    )


def _list_unreadable(files: LabelledFiles, unreadable: list[_Unreadable]) -> str:
    shown = first_few((f"{file.name}: {file.why}" for file in unreadable), separator="; ")
    return f"{files.source}: left out {len(unreadable):,} of {len(files):,} pictures, unreadable: {shown}"


def check_no_class_lost(files: LabelledFiles, kept: LabelledFiles) -> None:
    """Check that no class lost all its pictures.

    Args:
        files: all pictures.
        kept: those that can be read.

    Raises:
        DataError: a class has pictures in `files` but none in `kept`.

    """
    lost = np.flatnonzero((files.class_counts > 0) & (kept.class_counts == 0))
    if len(lost):
        raise DataError(
            f"{files.source}: no picture of the class {files.classes[lost[0]]!r} can be read; repair one, or remove "
            "the class"
        )
