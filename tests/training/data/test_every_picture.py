"""Every picture of the data is used, or counted and named with a reason, or the data are refused."""

import os
import zipfile
from pathlib import Path

import pytest

from tests.training.data.test_class_folders import both_kinds, made
from training.data.class_folders import class_folder_parts
from training.data.data_set import open_splits
from training.data.files_to_choose_on import find_labelled_files
from training.data.options import DataOptions
from training.errors import DataError

TRAIN = ("train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "train/dog/2.png")
PLAIN = ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")
CLASSES = ("cat", "dog", "eel")


@both_kinds
@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (
            ["test_images/cat/3.png"],
            "test_images lies beside the splits .train. but is not one of them; rename it to 'test' if",
        ),
        (
            ["fox/3.png"],
            "fox lies beside the splits .train. but is not one of them; if it is a class, .* such as train/fox",
        ),
        (
            ["eval/cat/3.png"],
            "eval lies beside the splits .train. but is not one of them; rename it to 'val' or 'test' if it is",
        ),
        (
            ["more/cat/3.png"],
            "more lies beside the splits .train. but is not one of them; rename it to 'train', 'val' or 'test'",
        ),
        (["test/3.png"], "the pictures in test lie in no class folder, so they have no label"),
        (["test/"], "the folder test is named after a split but has no class folders"),
        (["Test/cat/3.png"], "Test differs from the split 'test' only in case; rename it to 'test'"),
        (["test/Cat/3.png"], "test split: the model does not know 1 .* 'Cat' differs from 'cat' only in case: rename"),
        (["test/cat/3.png", "VAL/cat/3.png"], "VAL differs from the split 'val' only in case"),
        (
            ["train/No_Label/3.png"],
            "train/No_Label differs only in case from 'no_label', the name for pictures",
        ),
        (["trian/cat/3.png"], "trian lies beside the splits"),
        (["test1/3.png"], "the pictures in test1 lie in no class folder, so they have no label; put them into test/C"),
        (
            ["seg_test/cat/3.png"],
            "seg_test lies beside the splits .train. but is not one of them; rename it to 'test' if",
        ),
        (["test/images/cat/3.png"], "test/images/cat/3.png is deeper than CLASS/IMAGE"),
    ],
)
def test_a_folder_that_is_neither_class_nor_split_is_refused(
    tmp_path: Path, kind: str, names: list[str], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        open_splits(DataOptions(data=made(tmp_path, kind, *TRAIN, *names)))


@both_kinds
@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["train/1.png", "test/2.png"], "the pictures in test, train lie in no class folders, so they have no labels"),
        (["train_images/1.png", "val2/2.png"], "the pictures in train_images, val2 lie in no class folders"),
        (
            ["images/1.png", "masks/1.png"],
            "the pictures in images, masks lie in no class folders, so they have no label",
        ),
        (["images/1.png", "list.csv"], "if a file lists the labels, name that file with --data"),
        (["train/images/1.png", "train/labels/1.txt"], "the pictures in train/images, train/labels lie in no class"),
        (["JPEGImages/1.png", "Annotations/1.xml"], "the pictures in Annotations, JPEGImages lie in no class"),
        ([".data/cat/1.png"], "found 0 class folders with pictures, .* hidden by a dot before the name: 1 picture"),
        (["Train/cat/1.png", "Train/dog/1.png"], "Train differs from the split 'train' only in case"),
        (["set/TEST/cat/1.png", "set/TEST/dog/1.png"], "set/TEST differs from the split 'test' only in case"),
        (["cat/1.png", "dog/1.png", "_Unlabeled/1.png"], "_Unlabeled differs only in case from '_unlabeled'"),
        (["cat/train/1.png", "dog/train/1.png"], "goes above the classes: train/cat/1.png"),
        (["train_set/cat/1.png", "test_set/cat/1.png"], "If 'test_set' is a split, name it 'train', 'val' or 'test'"),
        (["cat/1.png", "dog/1.png", "test/cat/1.png"], "cat lies beside the splits .test. but is not one of them"),
        (["seg_test/cat/1.png", "seg_train/cat/1.png"], "If 'seg_test' is a split, name it 'train', 'val' or 'test'"),
        (["_unlabeled/1.png"], "found 0 class folders with pictures, .*; left out 1 picture without a label"),
    ],
)
def test_data_whose_splits_cannot_be_told_are_refused(
    tmp_path: Path, kind: str, names: list[str], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        class_folder_parts(made(tmp_path, kind, *names))


@both_kinds
@pytest.mark.parametrize("folder", ["_unlabeled", "no_label", "unlabelled", "no_label "])
def test_pictures_without_a_label_are_left_out_with_a_count(tmp_path: Path, kind: str, folder: str) -> None:
    names = [*PLAIN, f"{folder}/1.png", f"{folder}/more/2.png"]
    parts, notes = class_folder_parts(made(tmp_path, kind, *names))
    assert (parts[""].classes, len(parts[""])) == (("cat", "dog"), 4)
    assert notes == [f"left out 2 pictures without a label: 2 in {folder}"]
    files, notes = find_labelled_files(tmp_path / ("data.zip" if kind == "zip" else "data"), CLASSES)
    assert len(files) == 4
    assert notes == [f"left out 2 pictures without a label: 2 in {folder}"]


@both_kinds
def test_unlabelled_pictures_are_counted_in_every_split_and_beside_them(tmp_path: Path, kind: str) -> None:
    names = [*TRAIN, "test/cat/3.png", "test/_unlabeled/4.png", "train/_unlabeled/5.png", "no_label/6.png"]
    splits = open_splits(DataOptions(data=made(tmp_path, kind, *names)))
    assert (len(splits.train), splits.test.names) == (4, ("test/cat/3.png",))
    left_out = "left out 3 pictures without a label: 1 in no_label, 1 in test/_unlabeled, 1 in train/_unlabeled"
    assert left_out in splits.note


@both_kinds
def test_annotations_beside_a_wrapper_are_counted_and_their_folder_is_no_class(tmp_path: Path, kind: str) -> None:
    names = [*(f"images/{name}" for name in PLAIN), "labels/cat/1.txt", "readme.md"]
    parts, notes = class_folder_parts(made(tmp_path, kind, *names))
    assert (parts[""].classes, len(parts[""])) == (("cat", "dog"), 4)
    assert notes == [
        f"ignored in {'data.zip' if kind == 'zip' else 'data'}, not JPEG, PNG or WebP by suffix: 1 .md, 1 .txt, such "
        "as labels/cat/1.txt"
    ]


@both_kinds
def test_pictures_of_other_formats_are_counted_wherever_they_lie(tmp_path: Path, kind: str) -> None:
    names = [*TRAIN, "test/cat/1.png", "test/dog/1.png", "test/cat/2.tif", "other/1.gif", "other/2.avif", "3.bmp"]
    note = open_splits(DataOptions(data=made(tmp_path, kind, *names))).note
    assert all(f"1 {suffix}" in note for suffix in (".tif", ".gif", ".avif", ".bmp"))


@both_kinds
@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["train_images/cat/1.png", "test_images/cat/2.png"], "'t.*_images' looks like the t.* split; rename it"),
        (["cat/1.png", "val2/cat/2.png"], "'val2' looks like the val split; rename it to 'val' if it is that split"),
        (["seg_train/seg_train/cat/1.png", "seg_test/seg_test/cat/2.png"], "'seg_t.*' looks like the t.* split"),
        (["train/cat/1.png", "val/2.png"], "the pictures in val lie in no split, .* 'val' has no class folders"),
        (["trainset/cat/1.png"], "'trainset' looks like the train split"),
        (["train/cat/1.png"], "all pictures lie in a train folder, such as train/cat, and alpha must not be chosen"),
        (["test/cat/1.png", "more/cat/2.png"], "the pictures in more/cat lie in no split, but others lie in test"),
        (["test/cat/1.png", "cat/2.png"], "the pictures in cat lie in no split, but others lie in test"),
        (["test/cat/1.png", "3.png"], "the pictures in the top folder lie in no split"),
        (["test/cat/1.png", "eval/cat/2.png"], "If 'eval' is the val or test split, rename it to 'val' or 'test'"),
        (["Test/cat/1.png", "train/cat/2.png"], "Test differs from the split 'test' only in case"),
        (["test/train/cat/1.png"], "test/train/cat lies in two splits, test and train"),
        (["dog/cat/1.png"], "lie below two classes, 'dog' and 'cat'"),
        (["Cat/1.png"], "'Cat' differs from 'cat' only in case: rename it"),
        (["cat/test/1.png"], "If 'test' is a split, it holds class folders: 'test'/CLASS/IMAGE"),
        (["cat/1.png", "NO_LABEL/1.png"], "NO_LABEL differs only in case from 'no_label'"),
        (["no_label/1.png"], "no pictures found; .*; left out 1 picture without a label: 1 in no_label"),
    ],
)
def test_no_part_is_tuned_on_unsaid(tmp_path: Path, kind: str, names: list[str], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        find_labelled_files(made(tmp_path, kind, *names), CLASSES)


@both_kinds
@pytest.mark.parametrize("split", ["val", "valid", "validation"])
def test_without_a_test_split_alpha_is_chosen_on_val_and_never_on_train(tmp_path: Path, kind: str, split: str) -> None:
    path = made(tmp_path, kind, *TRAIN, f"{split}/cat/3.png")
    files, notes = find_labelled_files(path, CLASSES)
    assert (files.names, files.split) == ((f"{split}/cat/3.png",), "val")
    assert notes == ["its train split (4 pictures) is not used"]


def test_a_class_that_the_model_knows_may_be_called_as_unlabelled_or_as_a_split(tmp_path: Path) -> None:
    path = made(tmp_path, "folder", "test/train/1.png", "test/no_label/2.png", "train/train/3.png")
    files, notes = find_labelled_files(path, ("train", "no_label"))
    assert files.labels.tolist() == [0, 1]
    assert notes == ["its train split (1 picture) is not used"]


def linked(root: Path, *links: tuple[str, str]) -> Path:
    """Make a folder `data` whose links lead to the folders and files of a folder `store` beside it."""
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png", "c/cat/7.png"):
        (root / "store" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "store" / name).write_text(name)
    (root / "data").mkdir()
    for name, target in links:
        (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / name).symlink_to(root / target)
    return root / "data"


def test_linked_class_folders_and_splits_are_followed(tmp_path: Path) -> None:
    path = linked(tmp_path, ("train/cat", "store/a"), ("train/dog", "store/b"), ("test", "store/c"))
    splits = open_splits(DataOptions(data=path))
    assert splits.train.names == ("train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "train/dog/2.png")
    assert splits.train.read("train/dog/2.png") == b"b/2.png"
    assert splits.test.names == ("test/cat/7.png",)


def test_a_link_to_a_folder_around_it_is_left_out_with_a_note(tmp_path: Path) -> None:
    path = linked(tmp_path, ("cat", "store/a"), ("dog", "store/b"), ("all", "data"))
    (tmp_path / "store" / "a" / "self").symlink_to(tmp_path / "store" / "a")
    parts, notes = class_folder_parts(path)
    assert len(parts[""]) == 4
    assert notes == ["links to a folder that contains them are not followed: all, cat/self"]


def test_a_picture_that_a_link_reaches_again_counts_once(tmp_path: Path) -> None:
    path = linked(tmp_path, ("cat", "store/a"), ("dog", "store/b"))
    (tmp_path / "store" / "a" / "3.png").symlink_to("1.png")
    for files, notes in (
        ((parts := class_folder_parts(path))[0][""], parts[1]),
        find_labelled_files(path, CLASSES),
    ):
        assert files.names == ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")
        assert notes == ["1 picture reached again by a link counts once"]


@pytest.mark.parametrize(
    ("links", "sentence"),
    [
        ([("cat", "store/a"), ("dog", "store/a")], "are the same file, reached by a link, but lie in two classes"),
        ([("train/cat", "store/a"), ("train/dog", "store/b"), ("test/dog", "store/b")], "but lie in two splits"),
        ([("cat", "store/a"), ("dog", "store/b"), ("eel", "nowhere")], "eel: a broken link; mount what it leads"),
        ([("cat", "store/a"), ("dog", "data/dog")], "dog: a broken link"),
    ],
)
def test_links_that_contradict_each_other_or_lead_nowhere_are_refused(
    tmp_path: Path, links: list[tuple[str, str]], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        class_folder_parts(linked(tmp_path, *links))


def test_a_link_to_a_missing_picture_is_a_picture_that_cannot_be_read(tmp_path: Path) -> None:
    path = linked(tmp_path, ("cat", "store/a"), ("dog/1.png", "store/b/1.png"), ("dog/2.png", "gone.png"))
    files = class_folder_parts(path)[0][""]
    assert files.names[-1] == "dog/2.png"
    with pytest.raises(FileNotFoundError):
        files.read("dog/2.png")


def test_a_pipe_that_is_named_like_a_picture_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, "folder", *PLAIN)
    os.mkfifo(path / "cat" / "3.png")
    with pytest.raises(DataError, match=r"cat/3\.png: neither a file nor a folder; remove it"):
        class_folder_parts(path)


def test_a_zip_with_links_repeated_names_or_paths_outside_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("eel")
    link.create_system = 3
    link.external_attr = 0o120777 << 16
    for extra, sentence in (
        (link, "eel is a link, which is not followed in a zip"),
        ("./cat/1.png", "two files in the zip have this name"),
        ("../cat/9.png", "leads out of the zip"),
    ):
        with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
            for name in PLAIN:
                archive.writestr(name, b"")
            archive.writestr(extra, "store/eel")
        for read in (class_folder_parts, lambda path: find_labelled_files(path, CLASSES)):
            with pytest.raises(DataError, match=sentence):
                read(tmp_path / "data.zip")


def test_notes_show_file_names_that_cannot_be_printed(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png", "dog/\udcfc.bmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    note = open_splits(DataOptions(data=tmp_path)).note
    assert r"such as dog/\udcfc.bmp" in note
    assert note.isprintable()
