"""Decoding labelled pictures, at once or on demand."""

from pathlib import Path

import numpy as np
import pytest

from training.data.class_folders import open_class_folders
from training.data.labelled_images import load_images
from training.errors import DataError
from training.recipe.recipe import Recipe


def test_decoding_on_demand_gives_the_same_pixels(folder: Path, recipe: Recipe) -> None:
    folders = open_class_folders(folder, "test")
    once = load_images(folders, recipe.image_recipe)
    demand = load_images(folders, recipe.image_recipe, memory_bytes=10)
    assert demand.pixels is None
    chosen = np.array([7, 0, 13])
    np.testing.assert_array_equal(once.fetch(chosen), demand.fetch(chosen))
    assert once.labels[chosen].tolist() == [1, 0, 2]


def test_an_unreadable_picture_is_named(tmp_path: Path, recipe: Recipe) -> None:
    for name in ("a", "b"):
        (tmp_path / "test" / name).mkdir(parents=True)
        (tmp_path / "test" / name / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"test/a/1\.png: .*repair or remove this file"):
        load_images(open_class_folders(tmp_path, "test"), recipe.image_recipe)
