"""CSV and TSV files: label columns, one-hot columns, splits, groups, and the message for every faulty row."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.data.lists.open_list import open_list, refusal
from training.errors import DataError

ISIC = "image,MEL,NV,UNK\n" + "".join(f"ISIC_{i:07},{i % 2}.0,{1 - i % 2}.0,0.0\n" for i in range(10))
CAMERAS = "image_id,location,split,category_id\n" + "".join(
    f"p{i}.jpg,{i % 6},{'test' if i % 6 > 3 else 'train'},{(i // 6) % 2}\n" for i in range(24)
)


def test_one_hot_columns_are_classes_unless_they_have_no_pictures(tmp_path: Path) -> None:
    splits = open_list(tmp_path, "isic.csv", ISIC)
    assert splits.train.classes == ("MEL", "NV")
    assert (splits.train.class_counts + splits.test.class_counts).tolist() == [5, 5]
    of_mel = [name for name, label in zip(splits.train.names, splits.train.labels, strict=True) if label == 0]
    assert all(int(name[-1]) % 2 for name in of_mel)


def test_a_split_column_is_used_and_groups_in_both_parts_are_noted(tmp_path: Path) -> None:
    splits = open_list(tmp_path, "meta.csv", CAMERAS, group_column="location")
    assert (len(splits.train), len(splits.test), splits.is_split_off) == (16, 8, False)
    assert "columns of meta.csv: path image_id, label category_id, split split, group location" in splits.note
    assert "both parts" not in splits.note
    shared = open_list(tmp_path, "meta.csv", CAMERAS + "p99.jpg,5,train,0\n", group_column="location")
    assert "1 values of location are in both parts" in shared.note


def test_columns_can_be_named_and_separated_by_semicolons_or_tabs(tmp_path: Path) -> None:
    text = "when;where to;what\n1;a.jpg;x\n2;b.jpg;x\n3;c.jpg;y\n4;d.jpg;y\n"
    splits = open_list(tmp_path, "odd.csv", text, path_column="where to", label_column="what")
    assert splits.train.classes == ("x", "y")
    tabs = open_list(tmp_path, "odd.tsv", text.replace(";", "\t"), path_column="where to", label_column="what")
    assert tabs.train.names == splits.train.names


def test_a_quoted_comma_is_part_of_a_name_and_other_splits_are_noted(tmp_path: Path) -> None:
    text = 'path,label,split\n"a, 1.jpg",x,train\nb.jpg,y,Training\nc.jpg,y,validation\nd.jpg,x,id_val\n'
    splits = open_list(tmp_path, "list.csv", text)
    assert (splits.train.names, splits.test.names) == (("a, 1.jpg", "b.jpg"), ("c.jpg",))
    assert "test part: the val split of list.csv" in splits.note
    assert "pictures of other splits are not used ('id_val': 1)" in splits.note


def test_a_picture_without_a_group_is_a_group_of_one(tmp_path: Path) -> None:
    text = "path,label,lesion\n" + "".join(f"{i}.jpg,{i % 2},{'L1' if i < 4 else ''}\n" for i in range(12))
    splits = open_list(tmp_path, "list.csv", text, group_column="lesion")
    assert "8 pictures without a group: each counts as a group of one" in splits.note
    assert splits.train.groups is not None
    assert splits.test.groups is not None
    assert not np.intersect1d(splits.train.groups, splits.test.groups).size


HEAD = "path,label,split,cam\na.jpg,x,train,1\nb.jpg,y,train,2\n"


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        ("", {}, "the file is empty"),
        ("\n\n", {}, "no path column found; name it with --path-column (the header has no columns)"),
        ("path,label\n", {}, "the list has no pictures"),
        ("a,b\n1,2\n", {}, "line 1: no path column found; name it with --path-column (the header has a, b)"),
        ("path,note\na.jpg,x\n", {}, "no label column found; name it with --label-column (the header has path"),
        (HEAD, {"label_column": "kind"}, "no column 'kind' (--label-column); the header has path, label, split"),
        (HEAD, {"group_column": "site"}, "no column 'site' (--group-column)"),
        ("path,label,label\na.jpg,x,y\n", {}, "line 1: two columns are named 'label'; rename one"),
        (HEAD + "c.jpg,x\n", {}, "line 4: 2 columns, but the header has 4"),
        (HEAD + "c.jpg,,train,1\n", {}, "line 4: c.jpg has no label"),
        (HEAD + ",x,train,1\n", {}, "line 4: the path '' names no picture"),
        (HEAD + "a.jpg,y,train,1\n", {}, "line 4: a.jpg has the label 'y' here but 'x' in line 2"),
        (HEAD + "a.jpg,x,test,1\n", {}, "line 4: a.jpg has the split 'test' here but 'train' in line 2"),
        (HEAD + "a.jpg,x,train,2\n", {"group_column": "cam"}, "line 4: a.jpg has the group '2' here but '1' in line 2"),
        (HEAD + "../c.jpg,x,train,1\n", {}, "line 4: the path '../c.jpg' leads out"),
        (HEAD + '"c.jpg,x,train,1\n', {}, "not valid CSV"),
        (HEAD + '"c".jpg,x,train,1\n', {}, "line 4: not valid CSV"),
        (HEAD.replace("train", "fold1"), {}, "unknown splits 'fold1'; use train, val and test"),
        (HEAD.replace("train", "test"), {}, "no train part, so there is nothing to train on"),
        (HEAD.encode() + b"\xff.jpg,x,train,1\n", {}, "line 4: byte 0xff is not UTF-8"),
        (ISIC + "I1,1.0,1.0,0.0\n", {}, "line 12: the columns MEL and NV are 1; a picture has exactly one class"),
        (ISIC + "I1,0.0,0.0,0.0\n", {}, "line 12: no column is 1; a picture has exactly one class"),
        (ISIC + "I1,0.5,1.0,0.0\n", {}, "line 12: '0.5' in column 'MEL' is neither 0 nor 1"),
        (ISIC + "I1,nan,1.0,0.0\n", {}, "line 12: 'nan' in column 'MEL' is neither 0 nor 1"),
        (ISIC + "I1," + "9" * 5000 + ",1.0,0.0\n", {}, "is neither 0 nor 1"),
    ],
)  # fmt: skip
def test_a_faulty_row_is_named(tmp_path: Path, content: str | bytes, options: dict[str, str], sentence: str) -> None:
    assert sentence in refusal(tmp_path, "list.csv", content, **options)


def test_class_names_beside_one_hot_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    with pytest.raises(DataError, match=r"names\.txt: the columns of .* already name the classes; drop --class-names"):
        open_list(tmp_path, "isic.csv", ISIC, class_names=tmp_path / "names.txt")
