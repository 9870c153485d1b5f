"""Reading, cutting and decoding labelled images."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from training.data.class_folders import open_class_folders
from training.data.labelled_images import load_images
from training.data.long_tail import cut_long_tail, long_tail_counts
from training.errors import DataError
from training.recipe.recipe import Recipe

SHARED = Path(__file__).parents[4] / "shared" / "data"


def test_a_zip_reads_like_its_folder(folder: Path, archive: Path) -> None:
    one = open_class_folders(folder, "train")
    two = open_class_folders(archive, "train")
    assert (one.classes, one.names) == (two.classes, two.names)
    assert one.read(one.names[0]) == two.read(two.names[0])


def test_classes_are_alphabetical_and_hidden_files_do_not_count(folder: Path, tmp_path: Path) -> None:
    for name in ("zebra", "ant", ".cache"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "1.png").write_bytes(b"x")
        (tmp_path / "train" / name / ".DS_Store").write_bytes(b"x")
        (tmp_path / "train" / name / "notes.txt").write_bytes(b"x")
    folders = open_class_folders(tmp_path, "train")
    assert folders.classes == ("ant", "zebra")
    assert folders.names == ("train/ant/1.png", "train/zebra/1.png")


def test_a_missing_or_unreadable_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        open_class_folders(tmp_path / "nothing", "train")
    with pytest.raises(DataError, match="found 0 class folders"):
        open_class_folders(tmp_path, "train")
    (tmp_path / "broken.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="neither a folder nor a readable zip"):
        open_class_folders(tmp_path / "broken.zip", "train")


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_an_empty_class_folder_is_named(tmp_path: Path, kind: str) -> None:
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
    (tmp_path / "train" / "a" / "1.png").write_bytes(b"x")
    path = tmp_path
    if kind == "zip":
        path = tmp_path / "data.zip"
        with zipfile.ZipFile(path, "w") as target:
            target.writestr("train/a/1.png", b"x")
            target.mkdir("train/b")
    with pytest.raises(DataError, match=r"train/b: no pictures"):
        open_class_folders(path, "train")


def test_counts_are_the_paper_s() -> None:
    assert long_tail_counts(5000, 10, 100) == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert sum(long_tail_counts(500, 100, 100)) == 10847
    assert long_tail_counts(7, 3, 1) == [7, 7, 7]


@pytest.mark.parametrize("ratio", [0.5, 0.0, -1.0, float("nan")])
def test_a_ratio_below_one_is_refused(ratio: float) -> None:
    with pytest.raises(DataError, match="is below 1"):
        long_tail_counts(100, 10, ratio)


def test_cuts_are_nested_and_keep_the_first_by_rank(folder: Path) -> None:
    folders = open_class_folders(folder, "train")
    strong, weak = (cut_long_tail(folders, ratio) for ratio in (8, 2))
    for label in range(len(folders.classes)):
        small, large, everything = (
            [name for name, of in zip(files.names, files.labels, strict=True) if of == label]
            for files in (strong, weak, folders)
        )
        assert small == large[: len(small)] == everything[: len(small)]
        assert len(small) < len(large) or label == 0


def test_a_ratio_the_data_cannot_give_is_refused(folder: Path, tmp_path: Path) -> None:
    folders = open_class_folders(folder, "train")
    with pytest.raises(DataError, match="leaves class 'red' without pictures"):
        cut_long_tail(folders, 100)
    for name, count in (("a", 10), ("b", 3)):
        (tmp_path / "train" / name).mkdir(parents=True)
        for rank in range(count):
            (tmp_path / "train" / name / f"{rank}.png").write_bytes(b"x")
    with pytest.raises(DataError, match="needs 5 pictures of class 'b', which has 3"):
        cut_long_tail(open_class_folders(tmp_path, "train"), 2)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the CIFAR zips are not beside this checkout (../shared/data)")
@pytest.mark.parametrize(("name", "total"), [("cifar10-lt", 12406), ("cifar100-lt", 10847)])
def test_the_real_cifar_cut_has_the_known_size(name: str, total: int) -> None:
    folders = cut_long_tail(open_class_folders(SHARED / f"{name}.zip", "train"), 100)
    assert len(folders) == total


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
