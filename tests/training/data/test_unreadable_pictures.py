"""Missing and damaged pictures are named and left out of every count; too many end the run."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import image
from training.data.data_set import open_splits
from training.data.labelled_files import LabelledFiles
from training.data.labelled_images import load_images
from training.data.options import DataOptions
from training.errors import DataError
from training.recipe.recipe import Recipe

LINES = "".join(f"p{i}.webp {'ab'[i % 2]}\n" for i in range(20))
everywhere = pytest.mark.parametrize("memory_bytes", [10, 1 << 30], ids=["on demand", "in memory"])


@pytest.fixture
def files(tmp_path: Path) -> LabelledFiles:
    """Twenty listed pictures, of which one is missing and one damaged; no test part."""
    for i in range(20):
        if i != 3:
            (tmp_path / f"p{i}.webp").write_bytes(b"RIFF" if i == 6 else image((i, 200, 9), i))
    (tmp_path / "list.txt").write_text(LINES)
    splits = open_splits(DataOptions(data=tmp_path / "list.txt"))
    return LabelledFiles(
        "list.txt",
        ("a", "b"),
        tuple(f"p{i}.webp" for i in range(20)),
        np.arange(20) % 2,
        splits.train.read,
        np.arange(20),
    )


@everywhere
def test_unreadable_pictures_are_left_out_and_reported(
    files: LabelledFiles, recipe: Recipe, memory_bytes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    images = load_images(files, recipe.image_recipe, max_unreadable=0.1, memory_bytes=memory_bytes)
    assert images.unreadable == ("p3.webp", "p6.webp")
    assert images.class_counts.tolist() == [9, 9]
    assert images.files.groups is not None
    assert images.files.groups.tolist() == [i for i in range(20) if i not in {3, 6}]
    assert images.fetch(np.arange(18)).shape == (18, 8, 8, 3)
    last = load_images(files.part(np.array([19])), recipe.image_recipe)
    np.testing.assert_array_equal(images.fetch(np.array([17])), last.fetch(np.array([0])))
    said = capsys.readouterr().err
    assert "list.txt: left out 2 of 20 pictures, unreadable: p3.webp: cannot be read (no such picture" in said
    assert "p6.webp: " in said


@everywhere
def test_too_many_unreadable_pictures_end_the_run(files: LabelledFiles, recipe: Recipe, memory_bytes: int) -> None:
    with pytest.raises(DataError, match=r"left out 2 of 20 pictures.*more than --max-unreadable 0\.05 allows"):
        load_images(files, recipe.image_recipe, max_unreadable=0.05, memory_bytes=memory_bytes)


@everywhere
def test_by_default_the_first_unreadable_picture_ends_the_run(
    files: LabelledFiles, recipe: Recipe, memory_bytes: int
) -> None:
    with pytest.raises(DataError, match=r"p3\.webp: .*no such picture.* --max-unreadable"):
        load_images(files, recipe.image_recipe, memory_bytes=memory_bytes).fetch(np.arange(20))


def test_training_needs_a_readable_picture_of_every_class(files: LabelledFiles, recipe: Recipe) -> None:
    few = files.part(np.array([0, 1, 2, 4, 6])).part(np.array([0, 2, 3, 4]))
    lonely = LabelledFiles("list.txt", ("a", "b"), few.names, np.array([0, 0, 0, 1]), files.read)
    with pytest.raises(DataError, match="no picture of the class 'b' can be read"):
        load_images(lonely, recipe.image_recipe, max_unreadable=0.5)
    test = load_images(lonely, recipe.image_recipe, max_unreadable=0.5, every_class=False)
    assert test.class_counts.tolist() == [3, 0]
    with pytest.raises(DataError, match="left out 1 of 1 pictures"):
        load_images(lonely.part(np.array([3])), recipe.image_recipe, max_unreadable=0.99, every_class=False)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(DataError, match="--max-unreadable"):
        DataOptions(data=Path("x"), max_unreadable=share)


@pytest.mark.parametrize("wrapper", ["", "ISIC_Input/"])
def test_listed_pictures_are_found_without_suffix_and_below_a_wrapper(
    tmp_path: Path, recipe: Recipe, wrapper: str
) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for i in range(4):
            archive.writestr(f"{wrapper}p{i}.{'webp' if i else 'WEBP'}", image((i, 0, 0), i))
        archive.writestr(f"{wrapper}p2.jpg", b"another")
    (tmp_path / "list.csv").write_text("image,A,B\n" + "".join(f"p{i},{i % 2},{1 - i % 2}\n" for i in range(4)))
    splits = open_splits(DataOptions(data=tmp_path / "list.csv", images=tmp_path / "images.zip"))
    assert splits.train.read("p0") == splits.train.read("p0.WEBP")
    with pytest.raises(OSError, match=r"p2\.jpg and .*p2\.webp both exist"):
        splits.train.read("p2")
    with pytest.raises(FileNotFoundError, match="no such picture"):
        splits.train.read("p9")
