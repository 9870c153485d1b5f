"""Labelled images as a training loop wants them: an index in, uint8 pixels out.

Where all pixels fit into memory they are decoded once, into one array; an epoch then costs an indexing operation per
batch. Where they do not fit, each batch is decoded when it is asked for, in threads. Both give the same pixels.

Pictures that are missing or damaged are left out before anything counts them: class counts, groups and the mean feature
belong to the pictures that are really trained on. Where pixels do not fit, that takes a pass over all files, made only
if some may be bad; where none may, the first bad one ends the run when it is met.
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
READ_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError)  # what `read` may raise
BATCH = 256

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LabelledImages:
    """N images with their labels.

    Attributes:
        files: what they are read from when the pixels are not kept.
        recipe: how a file becomes (H, W, 3) pixels.
        pixels: (N, H, W, 3) uint8, or None where they do not fit into memory.
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
        """Return the pixels of these images, (B, H, W, 3) uint8.

        Args:
            indices: (B,).
            crops: B random crops, to be cut out and resized to (H, W), of the kept pixels or of the whole files;
                None takes the images as they are evaluated.

        """
        if self.pixels is not None:
            pixels = self.pixels[indices]
            return pixels if crops is None else crops.cut(torch.from_numpy(pixels), *pixels.shape[1:3]).numpy()
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            found = _decode(self.files, [self.files.names[i] for i in indices], self.recipe, threads, crops)
        if bad := [each for each in found if isinstance(each, _Bad)]:
            raise DataError(_sentence(self.files, bad))
        pixels = np.stack(found)
        return pixels if crops is None else mirror(torch.from_numpy(pixels), torch.from_numpy(crops.flip)).numpy()


def load_images(
    files: LabelledFiles,
    recipe: ImageRecipe,
    *,
    max_unreadable: float = 0.0,
    every_class: bool = True,
    memory_bytes: int = MAX_PIXEL_BYTES,
) -> LabelledImages:
    """Decode a split into one uint8 array, or prepare to decode batch by batch where that would exceed `memory_bytes`.

    Pictures that cannot be read are left out, and said on standard error, up to a share.

    Args:
        files: N pictures.
        recipe: how a file becomes pixels.
        max_unreadable: the share of N that may be missing or damaged.
        every_class: whether each class that has pictures must keep one, as to train on.
        memory_bytes: what the pixels may take.

    Raises:
        DataError: more pictures than that cannot be read, or all, or all of a class; the message names files.

    """
    fits = len(files) * recipe.height * recipe.width * 3 <= memory_bytes
    pixels = np.empty((len(files) if fits else 0, recipe.height, recipe.width, 3), np.uint8)
    if not fits and not max_unreadable:
        return LabelledImages(files, recipe, None)
    filled = 0
    readable = np.ones(len(files), dtype=bool)
    bad = list[_Bad]()
    with images_progress() as progress, ThreadPoolExecutor(torch.get_num_threads()) as threads:
        task = progress.add_task("reading" if fits else "looking at every picture", total=len(files))
        for start in range(0, len(files), BATCH):
            names = files.names[start : start + BATCH]
            for index, found in enumerate(_decode(files, names, recipe, threads), start):
                if isinstance(found, _Bad):
                    bad.append(found)
                    readable[index] = False
                elif fits:
                    pixels[filled] = found
                    filled += 1
            if len(bad) > max_unreadable * len(files):
                raise DataError(_sentence(files, bad, max_unreadable))
            progress.advance(task, len(names))
    if not bad:
        return LabelledImages(files, recipe, pixels if fits else None)
    left = files.part(readable)
    if every_class:
        check_no_class_lost(files, left)
    Console(stderr=True, highlight=False).print(_left_out(files, bad), markup=False, soft_wrap=True, style="yellow")
    return LabelledImages(left, recipe, pixels[:filled] if fits else None, tuple(each.name for each in bad))


@dataclass(frozen=True)
class _Bad:
    """A picture that cannot be read."""

    name: str
    why: str


def _decode(
    files: LabelledFiles,
    names: Sequence[str],
    recipe: ImageRecipe,
    threads: ThreadPoolExecutor,
    crops: RandomCrops | None = None,
) -> list[Pixels | _Bad]:
    def one(number: int, name: str) -> Pixels | _Bad:
        try:
            data = files.read(name)
            if crops is None:
                return decode_image(data, recipe)
            return decode_region(data, partial(crops.box, number), height=recipe.height, width=recipe.width)
        except ImageError as error:
            return _Bad(name, str(error))
        except READ_ERRORS as error:
            return _Bad(name, f"it cannot be read ({error})")

    return list(threads.map(one, count(), names))


def _sentence(files: LabelledFiles, bad: list[_Bad], allowed: float = 0.0) -> str:
    first = bad[0]
    if not allowed:
        return (
            f"{files.source}: {first.name}: {first.why}; mend or remove this file, or let a share of the pictures be "
            "left out with --max-unreadable"
        )
    return (
        f"{_left_out(files, bad)}. That is more than --max-unreadable {allowed:g} allows; mend or remove them, or "
        "check that --data and --images are what is meant"
    )


def _left_out(files: LabelledFiles, bad: list[_Bad]) -> str:
    shown = first_few((f"{each.name}: {each.why}" for each in bad), separator="; ")
    return f"{files.source}: {len(bad):,} of {len(files):,} pictures cannot be read and are left out: {shown}"


def check_no_class_lost(files: LabelledFiles, left: LabelledFiles) -> None:
    """Refuse to go on where a class lost all its pictures.

    Args:
        files: what was there.
        left: what of it could be read.

    Raises:
        DataError: a class has pictures in `files` and none in `left`.

    """
    gone = np.flatnonzero((files.class_counts > 0) & (left.class_counts == 0))
    if len(gone):
        raise DataError(
            f"{files.source}: no picture of the class {files.classes[gone[0]]!r} can be read; mend one, or "
            "remove the class"
        )
