"""A picture that is trained on is never tested on, however the two parts name it."""

import shutil
import zipfile
from pathlib import Path

import pytest

from training.data.data_set import Splits, open_splits
from training.data.options import DataOptions
from training.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Class folders `photos`, twice as a zip, and linked; `others` has other pictures; lists of both."""
    for place in ("photos", "others"):
        for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
            (tmp_path / place / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place / name).write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name in ("cat/1.png", "dog/1.png"):
            archive.writestr(f"wrapped/{name}", b"")
    (tmp_path / "link").symlink_to("photos")
    (tmp_path / "link.zip").symlink_to("photos.zip")
    (tmp_path / "train.txt").write_text("photos/cat/1.png cat\nphotos/dog/1 dog\n")
    (tmp_path / "photos" / "test.txt").write_text("dog/1.png dog\n")
    (tmp_path / "zipped.txt").write_text("cat/1 cat\ndog/1.png dog\n")
    (tmp_path / "test.txt").write_text("others/dog/1.png dog\n")
    shutil.copytree(tmp_path / "others", tmp_path / "mixed")
    (tmp_path / "mixed/dog/7.png").symlink_to(tmp_path / "photos/dog/1.png")
    return tmp_path


def divided(root: Path, data: str, test: str, images: str = "") -> Splits:
    return open_splits(DataOptions(data=root / data, test=root / test, images=root / images if images else None))


@pytest.mark.parametrize(
    ("data", "test", "images", "sentence"),
    [
        ("photos", "photos", "", "photos: 3 of its 3 pictures are also in"),
        ("photos", "link", "", "link: 3 of its 3 pictures are also in"),
        ("photos.zip", "link.zip", "", "link.zip: 2 of its 2 pictures are also in"),
        ("photos", "mixed", "", "mixed: 1 of its 4 pictures are also in .* such as dog/7.png"),
        ("train.txt", "photos", "", "photos: 2 of its 3 pictures are also in"),
        ("train.txt", "photos/test.txt", "", "test.txt: 1 of its 1 pictures are also in .* such as dog/1.png"),
        ("train.txt", "train.txt", "", "train.txt: 2 of its 2 pictures are also in"),
        ("zipped.txt", "photos/test.txt", "photos", "test.txt: 1 of its 1 pictures are also in"),
    ],
)
def test_a_picture_in_both_parts_is_refused(root: Path, data: str, test: str, images: str, sentence: str) -> None:
    with pytest.raises(DataError, match=f"{sentence}.* a test needs pictures that the model was not trained on"):
        divided(root, data, test, images)


def test_a_list_and_the_zip_it_names_are_the_same_pictures(root: Path) -> None:
    (root / "same.lst").write_text("wrapped/dog/1.png dog\n")
    with pytest.raises(DataError, match=r"same.lst: 1 of its 1 pictures are also in .* such as wrapped/dog/1.png"):
        divided(root, "zipped.txt", "same.lst", "photos.zip")


def test_pictures_that_only_have_the_same_name_are_two(root: Path) -> None:
    for data, test in (("photos", "others"), ("train.txt", "test.txt"), ("photos.zip", "others")):
        assert len(divided(root, data, test).test) > 0


def test_groups_in_both_parts_and_an_unused_val_split_are_noted(root: Path) -> None:
    (root / "train.csv").write_text(
        "path,label,split,camera\nphotos/cat/1.png,cat,train,7\nphotos/dog/1.png,dog,train,8\n"
        "photos/cat/2.png,cat,val,9\n"
    )
    rows = ("cat/1.png,cat,9", "dog/1.png,dog,8", "cat/2.png,cat,")
    (root / "test.csv").write_text("path,label,camera\n" + "".join(f"others/{row}\n" for row in rows))
    note = open_splits(DataOptions(data=root / "train.csv", test=root / "test.csv", group_column="camera")).note
    assert note.endswith("; its val split (1 picture) is not used; 1 values of camera are in both parts")
