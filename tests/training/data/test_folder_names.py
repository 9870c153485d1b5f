"""Names of class folders: their order, their forms, and the names in zips of other programs."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.training.data.lists.open_list import open_list
from tests.training.data.test_class_folders import both_kinds, made
from tests.zips import unicode_path, zip_of_bytes
from training.data.class_folders import class_folder_parts
from training.data.data_set import fingerprint, open_splits, open_test
from training.data.files_to_choose_on import find_labelled_files
from training.data.options import DataOptions
from training.errors import DataError

COMPOSED = "caf\u00e9"
DECOMPOSED = "cafe\u0301"
NUMBERS = tuple(map(str, range(12)))


def in_folders(*classes: str) -> list[str]:
    return [f"{name}/{rank}.png" for name in classes for rank in range(3)]


def zipped(path: Path, names: Iterable[bytes], **options: dict[bytes, bytes]) -> Path:
    path.write_bytes(zip_of_bytes(dict.fromkeys(names, b"x"), **options))
    return path


@both_kinds
@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (NUMBERS, NUMBERS),
        (("10.0", "2.0", "0.0", "1"), ("0", "1", "2", "10")),
        (("10", "dog", "9", "cat", "-1"), ("-1", "9", "10", "cat", "dog")),
        (("10 ", " 9", "8"), ("8", "9", "10")),
        ((COMPOSED, "cat"), (COMPOSED, "cat")),
        ((DECOMPOSED, "cat"), (COMPOSED, "cat")),
        (("Cat", "cat"), ("Cat", "cat")),
        (("1e3", "20", "v10", "v9"), ("20", "1e3", "v10", "v9")),
        (("00", "07", "10"), ("00", "07", "10")),
    ],
)
def test_class_folders_are_read_and_sorted_by_one_rule(
    tmp_path: Path, kind: str, folders: tuple[str, ...], classes: tuple[str, ...]
) -> None:
    parts, notes = class_folder_parts(made(tmp_path, kind, *in_folders(*folders)))
    assert parts[""].classes == classes
    assert not any("one class" in note for note in notes)


def test_class_folders_and_lists_number_their_classes_alike(tmp_path: Path) -> None:
    names = in_folders("11", "2", "0", "10", DECOMPOSED, "dog")
    folders = open_splits(DataOptions(data=made(tmp_path, "folder", *names)))
    labels = "".join(f"{name}\t{name.split('/')[0]}\n" for name in in_folders("11", "2", "0", "10"))
    assert folders.train.classes == ("0", "2", "10", "11", COMPOSED, "dog")
    assert open_list(tmp_path, "list.txt", labels).train.classes == ("0", "2", "10", "11")


@both_kinds
@pytest.mark.parametrize(
    ("one", "other", "name"),
    [(COMPOSED, DECOMPOSED, COMPOSED), ("cat", "cat ", "cat"), ("5", "5.0", "5"), ("\u00a0cat", "cat", "cat")],
)
def test_two_folders_of_one_name_are_one_class_and_noted(
    tmp_path: Path, kind: str, one: str, other: str, name: str
) -> None:
    parts, notes = class_folder_parts(made(tmp_path, kind, *in_folders(one, other, "dog")))
    assert dict(zip(parts[""].classes, parts[""].class_counts.tolist(), strict=True)) == {name: 6, "dog": 3}
    both = " and ".join(sorted(map(ascii, (one, other))))
    assert f"class folders that are one class: {both}" in notes


@both_kinds
def test_one_class_in_two_forms_is_one_class_of_both_splits(tmp_path: Path, kind: str) -> None:
    names = [
        *in_folders(f"train/{COMPOSED}", "train/5", "train/dog"),
        *in_folders(f"test/{DECOMPOSED}", "test/5.0", "test/dog "),
    ]
    splits = open_splits(DataOptions(data=made(tmp_path, kind, *names)))
    assert splits.test.class_counts.tolist() == [3, 3, 3]


@both_kinds
@pytest.mark.parametrize(
    ("folder", "sentence"),
    [
        ("01", "the folders 01 and 1 are one number in two spellings; rename one"),
        ("nan", "the folder 'nan' names no class: blank and NaN stand for none; rename it"),
        (" ", "the folder ' ' names no class"),
        ("a\u200bb", "the class name 'a\\u200bb' must be 1 to 200 printable characters"),
    ],
)
def test_a_folder_that_is_no_name_is_refused(tmp_path: Path, kind: str, folder: str, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        open_splits(DataOptions(data=made(tmp_path, kind, *in_folders("1", "2", folder))))
    assert sentence in str(caught.value)


def test_a_folder_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, "folder", *in_folders("cat", "dog"))
    folder = os.fsencode(path) + b"/F\xfcchse"
    try:
        os.mkdir(folder)  # noqa: PTH102  a name of bytes
        (path / os.fsdecode(b"F\xfcchse") / "1.png").write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    with pytest.raises(DataError, match=r"'F\\udcfcchse' is not Unicode text; rename it in UTF-8"):
        class_folder_parts(path)


@pytest.mark.parametrize(
    ("name", "classes"),
    [("F\u00fcchse", ("F\u00fcchse", "dog")), ("Fu\u0308chse", ("F\u00fcchse", "dog")), ("\u732b", ("dog", "\u732b"))],
)
def test_a_zip_of_the_finder_is_read_as_utf_8(tmp_path: Path, name: str, classes: tuple[str, ...]) -> None:
    names = [file.encode() for file in [*in_folders(name, "dog"), f"__MACOSX/{name}/._1.png"]]
    parts, _ = class_folder_parts(zipped(tmp_path / "data.zip", names))
    assert parts[""].classes == classes
    assert all(parts[""].read(file) == b"x" for file in parts[""].names)


def test_a_zip_in_another_encoding_asks_for_it(tmp_path: Path) -> None:
    path = zipped(tmp_path / "data.zip", [file.encode("cp850") for file in in_folders("F\u00fcchse", "dog")])
    with pytest.raises(DataError, match=r"'Füchse/0\.png' in cp850.*; give the encoding with --zip-encoding"):
        open_splits(DataOptions(data=path))
    splits = open_splits(DataOptions(data=path, zip_encoding="CP850"))
    assert splits.train.classes == ("F\u00fcchse", "dog")
    assert splits.train.read(splits.train.names[0]) == b"x"
    assert "--zip-encoding cp850" in DataOptions(data=path, zip_encoding="CP850").arguments
    with pytest.raises(DataError, match=r"is not UTF-8"):
        find_labelled_files(path, ("F\u00fcchse", "dog"))
    with pytest.raises(DataError, match="is not utf-8; give another encoding with --zip-encoding"):
        open_splits(DataOptions(data=path, zip_encoding="utf-8"))
    assert find_labelled_files(path, ("Fu\u0308chse", "dog"), "cp850")[0].class_counts.tolist() == [3, 3]


def test_the_unicode_names_of_info_zip_are_taken(tmp_path: Path) -> None:
    raw = {file: file.encode("ascii", "replace") for file in in_folders("F\u00fcchse", "dog")}
    extras = {raw[file]: unicode_path(file, raw[file]) for file in raw}
    parts, _ = class_folder_parts(zipped(tmp_path / "data.zip", raw.values(), extras=extras))
    assert parts[""].classes == ("F\u00fcchse", "dog")


@pytest.mark.parametrize(
    ("encoding", "sentence"), [("klingon", "'klingon' is not an encoding"), ("cp850", "the data are not a zip")]
)
def test_an_encoding_that_is_none_or_does_not_apply_is_refused(tmp_path: Path, encoding: str, sentence: str) -> None:
    path = made(tmp_path, "folder", *in_folders("cat", "dog"))
    with pytest.raises(DataError, match=f"--zip-encoding.*{sentence}"):
        open_splits(DataOptions(data=path, zip_encoding=encoding))


@pytest.mark.parametrize("listed", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("on_disk", [COMPOSED, DECOMPOSED])
def test_a_list_finds_its_pictures_in_any_form(tmp_path: Path, listed: str, packed: bool, on_disk: str) -> None:
    names = in_folders(on_disk, "dog")
    images = zipped(tmp_path / "i.zip", [n.encode() for n in names]) if packed else made(tmp_path, "folder", *names)
    rows = "".join(f"{listed}/{i} 0\ndog/{i}.png 1\n" for i in range(3))
    splits = open_list(tmp_path, "list.txt", rows, images=images)
    assert len(splits.train) == 4
    for part in (splits.train, splits.test):
        assert {len(part.read(name)) > 0 for name in part.names} == {True}


def test_a_picture_that_is_listed_in_two_forms_counts_once_or_is_refused(tmp_path: Path) -> None:
    rows = f"{COMPOSED}.png 0\nb.png 0\nc.png 1\nd.png 1\n{DECOMPOSED}.png "
    splits = open_list(tmp_path, "list.txt", f"{rows}0\n")
    assert len(splits.train) + len(splits.test) == 4
    assert "1 row repeats a picture" in splits.note
    with pytest.raises(DataError, match="has the label '1' here but '0' in line 1"):
        open_list(tmp_path, "list.txt", f"{rows}1\n")


def test_a_model_of_an_earlier_version_keeps_its_names_and_their_order(tmp_path: Path) -> None:
    path = made(tmp_path, "folder", *in_folders(*NUMBERS, DECOMPOSED, "cat "))
    old = (*sorted([*NUMBERS]), DECOMPOSED, "cat ")
    new = open_splits(DataOptions(data=path))
    splits = open_splits(DataOptions(data=path), old)
    test = open_test(DataOptions(data=path), old).files
    assert splits.train.classes == splits.test.classes == test.classes == old
    for part in (splits.train, splits.test, test):
        labelled = {old[label].strip() for label in part.labels}
        assert {name.split("/")[0].strip() for name in part.names} == labelled
        assert (part.labels[:-1] <= part.labels[1:]).all()
    assert set(splits.train.names) == set(new.train.names)
    assert fingerprint(test) == fingerprint(splits.test)
    assert find_labelled_files(path, old)[0].class_counts.tolist() == [3] * 14


@pytest.mark.parametrize("names", [("0", "1"), ("0", "1", "2", "3"), ("0", "1", "two")])
def test_a_run_of_other_classes_is_not_continued(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = made(tmp_path, "folder", *in_folders("0", "1", "2"))
    with pytest.raises(DataError, match="the run was started with other classes; only in the data: "):
        open_splits(DataOptions(data=path), names)


def test_classes_that_an_earlier_version_misread_are_found_again_with_cp437(tmp_path: Path) -> None:
    path = zipped(tmp_path / "data.zip", [name.encode() for name in in_folders("Fu\u0308chse", "dog")])
    misread = "Fu\u0308chse".encode().decode("cp437")
    for read in (
        lambda: open_splits(DataOptions(data=path), (misread, "dog")),
        lambda: open_test(DataOptions(data=path), (misread, "dog")),
    ):
        with pytest.raises(DataError, match=r"as an earlier version read the names of a zip; add --zip-encoding cp437"):
            read()
    options = DataOptions(data=path, zip_encoding="cp437")
    assert open_splits(options, (misread, "dog")).train.classes == (misread, "dog")
    assert not DataOptions(data=path).differences(options)  # so --resume takes it
