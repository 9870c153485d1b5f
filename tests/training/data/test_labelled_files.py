"""Which pictures of a folder or a zip are found, and with which label."""

import zipfile
from pathlib import Path

import pytest

from training.data.files_to_choose_on import find_labelled_files
from training.data.labelled_files import LabelledFiles
from training.errors import DataError

CLASSES = ("cat", "dog", "eel")


def found(root: Path, *names: str) -> LabelledFiles:
    """Write the files, find them in the folder and in a zip of it, and check that both agree."""
    (root / "data").mkdir()
    with zipfile.ZipFile(root / "data.zip", "w") as archive:
        for name in names:
            file = root / "data" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(name.encode())
            archive.write(file, name)
    zipped, folder = (find_labelled_files(root / name, CLASSES)[0] for name in ("data.zip", "data"))
    assert (zipped.names, zipped.labels.tolist()) == (folder.names, folder.labels.tolist())
    assert [zipped.read(name) for name in zipped.names] == [folder.read(name) for name in folder.names]
    return folder


def test_the_folder_of_a_picture_names_its_class(tmp_path: Path) -> None:
    files = found(tmp_path, "dog/b.webp", "cat/x.JPG", "dog/a.png", "photos/2026/dog/c.jpeg")
    assert files.names == ("cat/x.JPG", "dog/a.png", "dog/b.webp", "photos/2026/dog/c.jpeg")
    assert files.labels.tolist() == [0, 1, 1, 1]
    assert files.source == "data"


def test_if_there_is_a_test_folder_only_its_pictures_count(tmp_path: Path) -> None:
    files = found(tmp_path, "set/train/cat/1.png", "set/test/cat/2.png")
    assert (files.names, files.source) == (("set/test/cat/2.png",), "data, test split")


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    for name in ("cat/1.png", "test/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    assert find_labelled_files(tmp_path, ("cat", "test"))[0].labels.tolist() == [0, 1]


def test_other_and_hidden_files_are_ignored(tmp_path: Path) -> None:
    files = found(tmp_path, "cat/1.png", "cat/notes.txt", "cat/.2.png", ".thumbs/cat/3.png", "__MACOSX/cat/4.png")
    assert files.names == ("cat/1.png",)


def test_the_names_that_zip_programs_write_are_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
        archive.writestr("./cat/1.png", b"one")
        archive.writestr("dog\\2.png", b"two")
    files, _ = find_labelled_files(tmp_path / "odd.zip", CLASSES)
    assert [files.read(name) for name in files.names] == [b"one", b"two"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["cat/notes.txt"], "no pictures found; put them into class folders, CLASS/IMAGE"),
        (["1.png", "cat/2.png"], "1.png is not in a class folder"),
        (
            ["cow/1.png", "ape/2.png", "cat/3.png"],
            "the model does not know 2 of these classes: ape, cow; it knows cat, dog",
        ),
    ],
)
def test_unusable_pictures_are_refused(tmp_path: Path, names: list[str], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        found(tmp_path, *names)


@pytest.mark.parametrize("packed", [True, False])
def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.picture_store.MAX_PICTURE_BYTES", 1000)
    found(tmp_path, "cat/1.png")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/1.png", bytes(10**6))
    (tmp_path / "data/cat/1.png").write_bytes(bytes(1001))
    files, _ = find_labelled_files(tmp_path / ("bomb.zip" if packed else "data"), CLASSES)
    with pytest.raises(OSError, match="a picture has at most 1,000"):
        files.read("cat/1.png")


def test_a_missing_or_broken_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="no such file or folder"):
        find_labelled_files(tmp_path / "nowhere", CLASSES)
    with pytest.raises(DataError, match="neither a folder nor a readable zip"):
        find_labelled_files(tmp_path / "broken.zip", CLASSES)
