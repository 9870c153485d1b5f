"""Class folders with and without splits, in a folder and in a zip, and the message for every fault."""

import zipfile
from pathlib import Path

import pytest

from training.data.class_folders import class_folder_parts, open_class_folders
from training.data.data_set import open_splits
from training.data.options import DataOptions
from training.errors import DataError


def made(root: Path, kind: str, *names: str) -> Path:
    """Write files of these names into a folder or a zip; a name that ends in / is an empty folder."""
    if kind == "zip":
        with zipfile.ZipFile(root / "data.zip", "w") as archive:
            for name in names:
                archive.writestr(name, b"" if name.endswith("/") else name)
        return root / "data.zip"
    for name in names:
        file = root / "data" / name
        (file if name.endswith("/") else file.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            file.write_text(name)
    return root / "data"


both_kinds = pytest.mark.parametrize("kind", ["folder", "zip"])
PLAIN = ("cat/1.png", "cat/2.JPG", "dog/1.webp", "dog/notes.txt", "dog/.2.png", ".thumbs/cat/1.png")


@both_kinds
@pytest.mark.parametrize("wrapper", ["", "pets/", "a/b/"])
def test_folders_without_a_split_are_one_part(tmp_path: Path, kind: str, wrapper: str) -> None:
    names = [wrapper + name for name in PLAIN] + ["__MACOSX/pets/cat/._1.png"]
    path = made(tmp_path, kind, *names)
    parts, notes = class_folder_parts(path)
    assert list(parts) == [""]
    first = min(f"{wrapper}.thumbs/cat/1.png", f"{wrapper}dog/.2.png")
    second = max(f"{wrapper}.thumbs/cat/1.png", f"{wrapper}dog/.2.png")
    assert notes == [
        f"ignored in {path.name}, not JPEG, PNG or WebP by suffix: 1 .txt, such as {wrapper}dog/notes.txt",
        f"ignored in {path.name}, hidden by a dot before the name: 2 pictures, {first}, {second}",
    ]
    files = parts[""]
    assert (files.classes, files.labels.tolist()) == (("cat", "dog"), [0, 0, 1])
    assert [files.read(name).decode() for name in files.names] == [wrapper + n for n in PLAIN[:3]]


@both_kinds
def test_splits_are_found_below_a_wrapper_and_by_their_usual_names(tmp_path: Path, kind: str) -> None:
    names = [f"set/{split}/{name}/1.png" for split in ("training", "validation", "test") for name in ("a", "b")]
    path = made(tmp_path, kind, *names, "set/licence.png")
    assert {split: len(files) for split, files in class_folder_parts(path)[0].items()} == {
        "train": 2,
        "val": 2,
        "test": 2,
    }
    splits = open_splits(DataOptions(data=path))
    assert splits.test.names == ("set/test/a/1.png", "set/test/b/1.png")
    assert "its val split (2 pictures) is not used" in splits.note
    assert "left out 1 picture beside the splits, in no class folder: set/licence.png" in splits.note


def test_ignored_files_are_counted_by_suffix(tmp_path: Path) -> None:
    pictures = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(5)]
    others = ["cat/1.bmp", "cat/2.BMP", *(f"dog/1.{kind}" for kind in "abcdef"), "dog/.hidden", "read.me"]
    note = open_splits(DataOptions(data=made(tmp_path, "folder", *pictures, *others))).note
    assert note.startswith("ignored in data, not JPEG, PNG or WebP by suffix: 2 .bmp, 1 .")
    assert ", 3 others, such as cat/1.bmp; test part: 0.2 of each class" in note


def test_the_val_split_is_the_test_part_if_there_is_no_test_split(tmp_path: Path) -> None:
    path = made(tmp_path, "zip", *(f"{split}/{name}/1.png" for split in ("train", "val") for name in ("a", "b")))
    splits = open_splits(DataOptions(data=path))
    assert (splits.test.source, splits.is_split_off) == ("data.zip, val split", False)


def test_a_class_may_have_the_name_of_a_split_and_the_note_says_so(tmp_path: Path) -> None:
    parts, notes = class_folder_parts(made(tmp_path, "folder", "car/1.png", "train/1.png"))
    assert parts[""].classes == ("car", "train")
    assert notes == [
        "taken for a class because its pictures lie directly in it: train (a split holds class folders, "
        "train/CLASS/IMAGE)"
    ]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["train/cat/1.png", "test/cat/1.png"], "found 1 class folders; a classifier needs two or more"),
        (["notes.txt"], "found 0 class folders"),
        (["cat/1.png", "dog/"], r"dog: no pictures in this class folder"),
        (["cat/1.png", "dog/1.png", "2.png"], "2.png is not in a class folder"),
        (["cat/1.png", "dog/1.png", "dog/x/2.png"], "dog/x/2.png is deeper than CLASS/IMAGE"),
        (["train/a/1.png", "train/b/1.png", "train/2.png", "test/a/1.png"], "train/2.png is not in a class"),
        (["train/a/1.png", "train/b/1.png", "training/a/1.png"], "two folders hold the train split"),
    ],
)
@both_kinds
def test_a_faulty_data_set_is_refused(tmp_path: Path, kind: str, names: list[str], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        class_folder_parts(made(tmp_path, kind, *names))


def test_test_pictures_need_training_pictures_of_their_class_and_untested_classes_are_noted(tmp_path: Path) -> None:
    path = made(tmp_path, "folder", "train/a/1.png", "train/b/1.png", "test/a/2.png", "test/c/2.png")
    with pytest.raises(DataError, match=r"data, test split: the model does not know 1 of these classes, .*: c;"):
        open_splits(DataOptions(data=path))
    (path / "test" / "b").mkdir()
    (path / "test" / "c").rename(path / "test" / "b" / "c")
    other = made(tmp_path / "other", "folder", "a/2.png", "b/3.png")
    splits = open_splits(
        DataOptions(data=made(tmp_path / "third", "folder", "a/1.png", "b/1.png", "z/1.png"), test=other)
    )
    assert splits.test.class_counts.tolist() == [1, 1, 0]
    assert "1 of 3 classes have no test pictures and are not scored: z" in splits.note


def test_options_of_lists_are_refused_for_class_folders(tmp_path: Path) -> None:
    path = made(tmp_path, "folder", "a/1.png", "b/1.png")
    for option in ("group_column", "label_column", "images", "class_names"):
        with pytest.raises(DataError, match=f"--{option.replace('_', '-')} does not apply to class folders"):
            open_splits(DataOptions(data=path, **{option: Path("x") if option in {"images", "class_names"} else "x"}))


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
