"""What a list names but does not use is counted and named, in every format, or refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.data.lists.open_list import open_list, refusal


def text_list(label: str) -> tuple[str, str]:
    return "list.txt", f"a.jpg\tcat\nb.jpg\tcat\nc.jpg\tdog\nd.jpg\tdog\ne.jpg\t{label}\nf.jpg\t{label}\n"


def csv_table(label: str) -> tuple[str, str]:
    return "list.csv", "path,label\n" + text_list(label)[1].replace("\t", ",")


def one_hot(label: str) -> tuple[str, str]:
    rows = ["a.jpg,1,0,0", "b.jpg,1,0,0", "c.jpg,0,1,0", "d.jpg,0,1,0", "e.jpg,0,0,1", "f.jpg,0,0,1"]
    return "list.csv", "\n".join([f"image,cat,dog,{label}", *rows])


def coco(label: str) -> tuple[str, str]:
    tree = {
        "images": [{"id": i, "file_name": f"{'abcdef'[i]}.jpg"} for i in range(6)],
        "annotations": [{"image_id": i, "category_id": i // 2} for i in range(6)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(("cat", "dog", label))],
    }
    return "list.json", json.dumps(tree)


every_format = pytest.mark.parametrize("made", [text_list, csv_table, one_hot, coco])
Made = Callable[[str], tuple[str, str]]


@every_format
@pytest.mark.parametrize("label", ["_unlabeled", "no_label"])
def test_pictures_whose_label_says_that_they_have_none_are_left_out(tmp_path: Path, made: Made, label: str) -> None:
    splits = open_list(tmp_path, *made(label))
    assert splits.train.classes == ("cat", "dog")
    assert len(splits.train) + len(splits.test) == 4
    assert f"left out 2 pictures without a label: 2 with '{label}'" in splits.note


@every_format
def test_such_a_label_in_another_case_is_refused_with_its_place(tmp_path: Path, made: Made) -> None:
    message = refusal(tmp_path, *made("No_Label"))
    assert (
        "label 'No_Label' differs only in case from 'no_label', which leaves a picture out; write 'no_label'" in message
    )
    assert any(place in message for place in ("line 5:", "line 6:", "images[4]:"))


def test_numbers_of_a_class_name_that_says_unlabelled_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\n_unlabeled\ndog\n")
    rows = "a.jpg 0\nb.jpg 0\nc.jpg 1\nd.jpg 2\ne.jpg 2\n"
    splits = open_list(tmp_path, "list.txt", rows, class_names=tmp_path / "names.txt")
    assert (splits.train.classes, len(splits.train) + len(splits.test)) == (("cat", "dog"), 4)
    assert "left out 1 picture without a label: 1 with '1'" in splits.note


def test_a_list_without_any_label_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "list.txt", "a.jpg no_label\n")
    assert "no picture has a label; left out 1 picture without a label: 1 with 'no_label'" in message


@pytest.mark.parametrize(
    ("split", "meant"), [("trian", "train"), ("Tset", "test"), ("tests", "test"), ("vall", "val"), ("trai", "train")]
)
def test_a_misspelt_split_is_refused_with_what_was_meant(tmp_path: Path, split: str, meant: str) -> None:
    text = f"path,label,split\na.jpg,x,train\nb.jpg,y,train\nc.jpg,y,{split}\n"
    message = refusal(tmp_path, "list.csv", text)
    assert f"unknown split '{split}' of 1 picture: write '{meant}' if that is meant" in message


def test_other_splits_and_rows_without_one_are_counted(tmp_path: Path) -> None:
    text = "path,label,split\na.jpg,x,train\nb.jpg,y,train\nc.jpg,y,test\nd.jpg,y,\ne.jpg,x,extra\nf.jpg,x,test2\n"
    note = open_list(tmp_path, "list.csv", text + "g.jpg,x,nan\n").note
    assert "pictures of other splits are not used (without a split: 2, 'extra': 1, 'test2': 1)" in note


def test_a_blank_split_column_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "list.csv", "path,label,split\na.jpg,x,\nb.jpg,y,NaN\n")
    assert "the column of the splits is blank; write train, val or test into it" in message


def test_a_file_that_is_no_list_by_its_suffix_is_refused_as_such(tmp_path: Path) -> None:
    message = refusal(tmp_path, "list.dat", "a.jpg x\n", images=tmp_path)
    assert "list.dat: neither a folder, a zip nor a list of pictures, whose name ends in .txt, .lst" in message


def test_a_column_of_splits_that_is_not_used_is_named(tmp_path: Path) -> None:
    rows = "".join(f"{i}.jpg,{'xy'[i % 2]},{'test' if i > 5 else 'TRAIN'},{i}\n" for i in range(8))
    said = "'data set' holds test, train but is not used; --split-column 'data set' uses it"
    header = "path,label,data set,number\n"
    assert said in open_list(tmp_path, "list.csv", header + rows).note
    splits = open_list(tmp_path, "list.csv", header + rows, split_column="data set")
    assert said not in splits.note
    assert len(splits.test) == 2


def test_a_field_of_splits_in_json_that_is_not_used_is_named(tmp_path: Path) -> None:
    name, content = coco("eel")
    tree = json.loads(content)
    for image in tree["images"]:
        image["subset"] = "validation" if image["id"] % 2 else "train"
    said = "'subset' holds train, val but is not used; --split-column 'subset' uses it"
    assert said in open_list(tmp_path, name, json.dumps(tree)).note
    assert said not in open_list(tmp_path, name, json.dumps(tree), split_column="subset").note
