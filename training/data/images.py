"""Labelled images as a training loop wants them: an index in, uint8 pixels out.

Where all pixels fit into memory they are decoded once, into one array; an epoch then costs an indexing operation per
batch. Where they do not fit, each batch is decoded when it is asked for, in threads. Both give the same pixels.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count
from os import cpu_count

import numpy as np
import numpy.typing as npt
import torch

from models.errors import ImageError
from models.manifest import ImageRecipe
from models.preprocess import decode_image, decode_region
from training.data.labelled_files import LabelledFiles
from training.data.random_crops import RandomCrops, mirror
from training.errors import DataError

__all__ = ["LabelledImages", "load_images"]

FITS_IN_MEMORY_BYTES = 4 << 30


@dataclass(frozen=True)
class LabelledImages:
    """N images with their labels.

    Attributes:
        files: what they are read from when the pixels are not kept.
        recipe: how a file becomes (H, W, 3) pixels.
        pixels: (N, H, W, 3) uint8, or None where they do not fit into memory.
    """

    files: LabelledFiles
    recipe: ImageRecipe
    pixels: npt.NDArray[np.uint8] | None

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

    def fetch(self, indices: npt.NDArray[np.int64], crops: RandomCrops | None = None) -> npt.NDArray[np.uint8]:
        """Return the pixels of these images, (B, H, W, 3) uint8.

        Args:
            indices: (B,).
            crops: B random crops, to be cut out and resized to (H, W), of the kept pixels or of the whole files;
                None takes the images as they are evaluated.
        """
        if self.pixels is not None:
            pixels = self.pixels[indices]
            return pixels if crops is None else crops.cut(torch.from_numpy(pixels), *pixels.shape[1:3]).numpy()
        return _decode(self.files, [self.files.names[i] for i in indices], self.recipe, crops)


def load_images(
    files: LabelledFiles, recipe: ImageRecipe, *, memory_bytes: int = FITS_IN_MEMORY_BYTES
) -> LabelledImages:
    """Decode a split into one uint8 array, or prepare to decode batch by batch where that would exceed `memory_bytes`.

    Raises:
        DataError: an image cannot be read; the message names the file.
    """
    fits = len(files) * recipe.height * recipe.width * 3 <= memory_bytes
    return LabelledImages(files, recipe, _decode(files, files.names, recipe) if fits else None)


def _decode(
    files: LabelledFiles, names: Sequence[str], recipe: ImageRecipe, crops: RandomCrops | None = None
) -> npt.NDArray[np.uint8]:
    def one(number: int, name: str) -> npt.NDArray[np.uint8]:
        try:
            data = files.read(name)
            if crops is None:
                return decode_image(data, recipe)
            return decode_region(data, partial(crops.box, number), height=recipe.height, width=recipe.width)
        except ImageError as error:
            raise DataError(f"{files.source}: {name}: {error}; mend or remove this file") from error

    with ThreadPoolExecutor(cpu_count()) as threads:
        pixels = np.stack(list(threads.map(one, count(), names)))
    return pixels if crops is None else mirror(torch.from_numpy(pixels), torch.from_numpy(crops.flip)).numpy()
