"""Text lists, `path label`: which pictures they give, and the message for every faulty line."""

from pathlib import Path
from zipfile import ZipFile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.data.lists.open_list import open_list, refusal
from training.data.data_set import open_splits
from training.data.lists.text_lines import MAX_LINE_BYTES
from training.data.options import DataOptions
from training.errors import DataError

GOOD = "a/1.jpg 0\na/2.jpg 0\nb/1.jpg 7\nb/2.jpg 7\n"


def test_numeric_labels_are_classes_in_numeric_order(tmp_path: Path) -> None:
    splits = open_list(tmp_path, "all.txt", "b/1.jpg 10\nb/2.jpg 10\na/1.jpg 9\na/2.jpg 9\n")
    assert splits.train.classes == splits.test.classes == ("9", "10")
    assert sorted(splits.train.names + splits.test.names) == ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"]


def test_a_second_list_is_the_test_part_and_numbers_the_same_classes(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("t/1.jpg 7\n")
    splits = open_list(tmp_path, "train.txt", GOOD, test=tmp_path / "test.txt")
    assert (splits.test.names, splits.test.labels.tolist(), splits.test.classes) == (("t/1.jpg",), [1], ("0", "7"))
    assert len(splits.train) == 4
    assert "test part: test.txt" in splits.note
    assert "1 of 2 classes have no test pictures and are not scored: 0" in splits.note


def test_blanks_in_paths_tabs_names_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    splits = open_list(tmp_path, "all.txt", "\ufeffmy cat 1.jpg cat\r\n\r\nx y.jpg\tbig dog\nz.jpg\tbig dog\nc.jpg cat")
    assert splits.train.classes == ("big dog", "cat")
    assert set(splits.train.names + splits.test.names) == {"my cat 1.jpg", "x y.jpg", "z.jpg", "c.jpg"}


def test_class_names_name_the_numbers_and_classes_without_pictures_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("ant\nbee\ncow\nfox\nelk\npig\nape\nemu\n\n")
    splits = open_list(tmp_path, "all.txt", GOOD, class_names=tmp_path / "names.txt")
    assert splits.train.classes == ("ant", "emu")
    by_name = open_list(
        tmp_path, "all.lst", "1.jpg emu\n2.jpg emu\n3.jpg ant\n4.jpg ant", class_names=tmp_path / "names.txt"
    )
    assert by_name.train.classes == ("ant", "emu")


def test_leading_zeros_are_part_of_the_name(tmp_path: Path) -> None:
    splits = open_list(tmp_path, "all.txt", "1.jpg 02\n2.jpg 02\n3.jpg 10\n4.jpg 10\n5.jpg 100\n6.jpg 100\n")
    assert splits.train.classes == ("02", "10", "100")
    (tmp_path / "test.txt").write_text("t/1.jpg 7\n")
    with pytest.raises(
        DataError, match="the model does not know 1 of these classes, which have no training pictures: 7;"
    ):
        open_list(tmp_path, "train.txt", "1.jpg 07\n2.jpg 07\n3.jpg 10\n4.jpg 10\n", test=tmp_path / "test.txt")
    sentence = "label '02' is neither one of the 3 class names nor a number from 0 to 2"
    for names in ("0\n1\n2\n", "ant\nbee\nfox\n"):
        (tmp_path / "names.txt").write_text(names)
        assert sentence in refusal(tmp_path, "all.txt", "1.jpg 0\n2.jpg 02\n", class_names=tmp_path / "names.txt")


def test_a_picture_listed_again_counts_once(tmp_path: Path) -> None:
    splits = open_list(tmp_path, "all.txt", GOOD + "./a//1.jpg 0\n")
    assert len(splits.train) + len(splits.test) == 4
    assert "1 row repeats a picture and counts once" in splits.note


@pytest.mark.parametrize("packed", [False, True])
def test_one_file_listed_under_two_names_counts_once_or_is_refused(tmp_path: Path, packed: bool) -> None:
    images = tmp_path / ("i.zip" if packed else "i")
    names = [f"all/{name}.jpg" for name in "abcd"]
    if packed:
        with ZipFile(images, "w") as archive:
            for name in names:
                archive.writestr(name, b"")
    else:
        (images / "all").mkdir(parents=True)
        for name in names:
            (images / name).touch()
        (images / "link").symlink_to("all")
    rows = "all/a.jpg 0\nall/b.jpg 0\nall/c 1\nall/d.jpg 1\n"
    again = "a.jpg" if packed else "link/a"
    splits = open_list(tmp_path, "list.txt", f"{rows}all/a 0\nall/c.jpg 1\n{again} 0\n", images=images)
    assert len(splits.train) + len(splits.test) == 4
    assert "3 rows repeat a picture and count once" in splits.note
    said = refusal(tmp_path, "list.txt", f"{rows}all/a 1\n", images=images)
    assert "line 5: all/a has the label '1' here but '0' in line 1, as all/a.jpg; keep the right one" in said


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "the file is empty"),
        ("\n \n", "the list has no pictures"),
        (GOOD + "lonely.jpg\n", "line 5: no label in 'lonely.jpg'; write 'path label'"),
        (GOOD + "c.jpg cat\n", "line 5: label 'cat' is not a number, but the label of the first picture is"),
        ("a.jpg cat\nb.jpg 3\n", "line 2: label '3' is a number, but the label of the first picture is not"),
        (GOOD + "c.jpg -1\n", "line 5: label '-1' is negative, and class numbers are not; write no_label"),
        (GOOD + "c.jpg 07\n", "line 5: label '07' was written '7' before; write a class number in one way"),
        (GOOD + "c.jpg 1e3\n", "line 5: label '1e3' is not a number"),
        (GOOD + "a/1.jpg 7\n", "line 5: a/1.jpg has the label '7' here but '0' in line 1; keep the right one"),
        (GOOD + "../secret.jpg 0\n", "line 5: the path '../secret.jpg' leads out of the folder of images"),
        (GOOD + "a/../../x.jpg 0\n", "leads out of the folder of images; write paths relative to that folder"),
        (GOOD + "/etc/x.jpg 0\n", "line 5: the path '/etc/x.jpg' leads out"),
        (GOOD + ". 0\n", "line 5: the path '.' names no picture"),
        (
            GOOD + "a\0b.jpg 0\n",
            "line 5: the path 'a\\x00b.jpg' has more than 4096 characters, or an unprintable one",
        ),
        (GOOD + "x" * 5000 + ".jpg 0\n", "has more than 4096 characters"),
        (GOOD.encode() + b"caf\xe9.jpg 0\n", "line 5: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        (GOOD.encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
        (b"x" * (MAX_LINE_BYTES + 1), f"line 1: longer than {MAX_LINE_BYTES:,} bytes; is this a list?"),
        ("a.jpg 0\nb.jpg 0\n", "1 class has training pictures; a classifier needs two or more"),
        (
            "a.jpg 0\nb.jpg 1\n",
            "no picture can be split off for testing, because a class would be left without training",
        ),
        ("a.jpg\tx" + "y" * 200 + "\nb.jpg\tz\nc.jpg\tz", "the class name 'xyyy"),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, content: str | bytes, sentence: str) -> None:
    assert sentence in refusal(tmp_path, "list.txt", content)


def test_every_faulty_line_is_named_or_counted(tmp_path: Path) -> None:
    said = refusal(tmp_path, "all.txt", GOOD + "".join(f"alone{number}\n" for number in range(7))).splitlines()
    assert [line.partition("all.txt: ")[2].split("'")[0] for line in said[:5]] == [
        f"line {n}: no label in " for n in range(5, 10)
    ]
    assert said[5:] == ["and 2 more"]
    broken = refusal(tmp_path, "all.txt", b"1.jpg 0\nalone\n2.jpg 0\n\xff.jpg 7\n").splitlines()
    assert [line.partition("all.txt: ")[2][:6] for line in broken] == ["line 2", "line 4"]
    two = refusal(tmp_path, "all.txt", GOOD + "/etc/c.jpg 0\n../d.jpg 7\n").splitlines()
    assert [line.partition("all.txt: ")[2][:6] for line in two] == ["line 5", "line 6"]
    said = refusal(tmp_path, "all.csv", "path,label\n1.jpg,a\n2.jpg\n3.jpg,b,c\n1.jpg,b\n").splitlines()
    assert [line.partition("all.csv: ")[2] for line in said] == [
        "line 3: 1 columns, but the header has 2",
        "line 4: 3 columns, but the header has 2",
    ]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("ant\n", "a classifier needs two or more class names, one a line; found 1"),
        ("ant\n\nbee\n", "line 2: empty; write one class name a line"),
        ("ant\n1\n2\n7\n", "line 4: the name '7' is a number, but this is class number 3, so the label 7 is ambiguous"),
        ("1\n2\n3\n", "line 1: the name '1' is a number, but this is class number 0"),
        ("0\n01\n", "line 2: the name '01' is a number, but this is class number 1"),
        ("ant\nbee\nant\n", "line 3: 'ant' already is the name in line 1"),
        ("ant\nbee\n", "line 3: label '7' is neither one of the 2 class names nor a number from 0 to 1"),
        ("", "the file is empty"),
    ],
)
def test_faulty_class_names_are_named(tmp_path: Path, names: str, sentence: str) -> None:
    (tmp_path / "names.txt").write_text(names)
    with pytest.raises(DataError, match=r"(names|list)\.txt") as caught:
        open_list(tmp_path, "list.txt", GOOD, class_names=tmp_path / "names.txt")
    assert sentence in str(caught.value)


def test_an_option_that_does_not_apply_to_a_text_list_is_refused(tmp_path: Path) -> None:
    assert "--group-column does not apply to a text list" in refusal(tmp_path, "all.txt", GOOD, group_column="camera")
    with pytest.raises(DataError, match="no such file"):
        open_splits(DataOptions(data=tmp_path / "nowhere.txt"))


def test_a_picture_in_both_lists_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("b/1.jpg 7\n")
    sentence = refusal(tmp_path, "train.txt", GOOD, test=tmp_path / "test.txt")
    assert "test.txt: 1 of its 1 pictures are also in" in sentence
    assert "such as b/1.jpg" in sentence


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_an_error(tmp_path: Path, content: bytes) -> None:
    for name in ("any.txt", "any.csv", "any.json"):
        (tmp_path / name).write_bytes(content)
        try:
            splits = open_splits(DataOptions(data=tmp_path / name))
        except DataError as error:
            assert name in str(error)  # noqa: PT017  either is right
        else:
            assert splits.train.class_counts.min() > 0
