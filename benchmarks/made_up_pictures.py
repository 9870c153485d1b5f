"""Random images in memory for measuring training; their content does not affect the time."""

import numpy as np

from training.data.labelled_files import LabelledFiles
from training.data.labelled_images import LabelledImages
from training.recipe.recipe import Recipe

__all__ = ["CLASSES", "made_up"]

CLASSES = 10


def made_up(recipe: Recipe, count: int) -> LabelledImages:
    """Return `count` random images of the recipe's size."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, count)
    names = tuple(map(str, range(count)))
    files = LabelledFiles("made up", tuple(map(str, range(CLASSES))), names, labels, lambda _: b"")
    pixels = rng.integers(0, 256, (count, recipe.height, recipe.width, 3), dtype=np.uint8)
    return LabelledImages(files, recipe.image_recipe, pixels)
