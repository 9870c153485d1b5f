"""One rule for names and numbers in every list format, as people and pandas write them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.data.lists.open_list import open_list, refusal
from training.data.data_set import Splits
from training.data.options import DataOptions
from training.errors import DataError
from training.official.class_list import read_class_list

COMPOSED = "caf\u00e9"
DECOMPOSED = "cafe\u0301"
Read = Callable[[Path, list[Any]], Splits]


def as_text(root: Path, labels: list[Any]) -> Splits:
    return open_list(root, "list.txt", "".join(f"{i}.jpg\t{label}\n" for i, label in enumerate(labels)))


def as_csv(root: Path, labels: list[Any]) -> Splits:
    return open_list(root, "list.csv", "path,label\n" + "".join(f"{i}.jpg,{label}\n" for i, label in enumerate(labels)))


def as_coco(root: Path, labels: list[Any]) -> Splits:
    """Open a file whose categories are in their order of first use, with no names but their ids."""
    tree = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(len(labels))],
        "annotations": [{"image_id": float(i), "category_id": label} for i, label in enumerate(labels)],
        "categories": [{"id": label} for label in dict.fromkeys(str(float(label)) for label in labels)],
    }
    return open_list(root, "all.json", json.dumps(tree))


def labels_of(splits: Splits) -> dict[str, str]:
    return {
        name: part.classes[label]
        for part in (splits.train, splits.test)
        for name, label in zip(part.names, part.labels, strict=True)
    }


@pytest.mark.parametrize("read", [as_text, as_csv])
def test_numbers_are_in_their_own_order_however_they_are_written(tmp_path: Path, read: Read) -> None:
    for form in (str, float):
        splits = read(tmp_path, [form(number) for number in (11, 2, 10, 0, 1, 3) * 2])
        assert splits.train.classes == ("0", "1", "2", "3", "10", "11")
        assert labels_of(splits)["0.jpg"] == "11"


@pytest.mark.parametrize("read", [as_text, as_csv])
@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["1.0", "1.5", "2.0", "10.0"], ("1", "1.5", "2", "10")),
        ([10**12, 5, 10**11, "7.00"], ("5", "7", "100000000000", "1000000000000")),
        (["1e3", "+5", "1_0", "x"], ("+5", "1_0", "1e3", "x")),
        (["00", "01", "10", "02"], ("00", "01", "02", "10")),
        ([DECOMPOSED, "tea", "cat"], (COMPOSED, "cat", "tea")),
    ],
)
def test_labels_are_read_and_sorted_by_one_rule(
    tmp_path: Path, read: Read, labels: list[Any], classes: tuple[str, ...]
) -> None:
    assert read(tmp_path, labels * 2).train.classes == classes


@pytest.mark.parametrize("read", [as_text, as_csv])
def test_two_forms_of_one_name_are_one_class_and_noted(tmp_path: Path, read: Read) -> None:
    splits = read(tmp_path, [COMPOSED, DECOMPOSED, "tea", "tea", COMPOSED, DECOMPOSED])
    assert splits.train.classes == (COMPOSED, "tea")
    assert r"labels that are one class: 'cafe\u0301' and 'caf\xe9'" in splits.note
    numbers = read(tmp_path, ["5", "5.0", "6", "6"])
    assert numbers.train.classes == ("5", "6")
    assert "labels that are one class: '5' and '5.0'" in numbers.note


@pytest.mark.parametrize("read", [as_text, as_csv])
@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["0", "1", "nan"], "2.jpg has no label; a blank and NaN are none"),
        (["cat", "NaN", "dog"], "1.jpg has no label"),
        (["1", "2", "01"], "label '01' was written '1' before; write a class number in one way"),
        (["1.5", "2", "1.50"], "label '1.50' was written '1.5' before"),
        (["0", "1", "-1"], "label '-1' is negative, and class numbers are not"),
        (["-1", "0", "1"], "label '-1' is negative, and class numbers are not"),
        (["0", "1", "1e3"], "label '1e3' is not a number"),
        (["cat", "5.0"], "label '5' is a number"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(tmp_path: Path, read: Read, labels: list[Any], sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, labels)
    assert sentence in str(caught.value)


def test_coco_ids_are_the_numbers_that_pandas_makes_of_them(tmp_path: Path) -> None:
    splits = as_coco(tmp_path, [11.0, 2, "2", 11, 2.0, 11])
    assert splits.train.classes == ("11", "2")
    assert list(map(labels_of(splits).get, (f"{i}.jpg" for i in range(6)))) == ["11", "2", "2", "11", "2", "11"]


def test_a_location_of_coco_is_the_same_as_whole_float_and_nan_is_none(tmp_path: Path) -> None:
    tree: dict[str, Any] = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "location": location}
            for i, location in enumerate([5, 5.0, "5", "5.0", 7.5, "7.5", float("nan"), None, 6, 6.0, 8, 8])
        ],
        "annotations": [{"image_id": i, "category_id": i % 2} for i in range(12)],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1.0, "name": float("nan")}],
    }
    splits = open_list(tmp_path, "all.json", json.dumps(tree), group_column="location")
    assert splits.train.classes == ("cat", "1")
    assert splits.train.named_groups | splits.test.named_groups == {"5", "7.5", "6", "8"}
    assert not splits.train.named_groups & splits.test.named_groups
    assert "2 pictures without a group" in splits.note


def test_an_annotation_without_a_category_is_counted(tmp_path: Path) -> None:
    tree = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(8)],
        "annotations": [{"image_id": i, "category_id": [0, 1, float("nan"), None][i % 4]} for i in range(8)],
        "categories": [{"id": 0}, {"id": 1}],
    }
    splits = open_list(tmp_path, "all.json", json.dumps(tree))
    assert len(splits.train) + len(splits.test) == 4
    assert "left out 4 pictures without an annotation" in splits.note
    assert "left out 4 annotations whose category is null or NaN" in splits.note


@pytest.mark.parametrize(
    ("part", "key", "value", "sentence"),
    [
        ("images", "id", float("nan"), "images[0]: no 'id'; it must be a number or a string"),
        ("images", "id", float("inf"), "images[0]: 'id' must be a number or a string: inf is not a name"),
        ("images", "id", 1e17, "images[0]: 'id' must be a number or a string: 1e+17 is too large a float to be exact"),
        ("images", "id", "1.0", "images[1]: another image already has the id 1"),
        ("images", "location", True, "images[0]: 'location' must be a number or a string: True is neither"),
        ("annotations", "image_id", None, "annotations[0]: no 'image_id'"),
        ("annotations", "category_id", " ", "annotations[0]: no 'category_id'"),
        ("categories", "id", "1.0", "categories[1]: another category already has the id 1"),
        (
            "categories",
            "name",
            "\ud800",
            "categories[0]: 'name' must be a number or a string: '\\ud800' is not Unicode",
        ),
        ("categories", "name", DECOMPOSED, "categories[1]: categories[0] already has the name 'café'"),
        ("categories", "name", f" {COMPOSED} ", "categories[1]: categories[0] already has the name 'café'"),
    ],
)
def test_a_name_or_id_that_cannot_be_meant_is_refused(
    tmp_path: Path, part: str, key: str, value: Any, sentence: str
) -> None:
    tree: dict[str, Any] = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(4)],
        "annotations": [{"image_id": i, "category_id": i % 2} for i in range(4)],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": COMPOSED}],
    }
    tree[part][0][key] = value
    assert sentence in refusal(tmp_path, "all.json", json.dumps(tree), group_column="location")


def test_class_names_are_compared_in_one_form_with_labels(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text(f" {DECOMPOSED}\u00a0\ntea\n2.0\n")
    text = f"path,label\na.jpg,{COMPOSED}\nb.jpg,tea\nc.jpg,2\nd.jpg,2.0\n"
    by_name = open_list(tmp_path, "list.csv", text, class_names=names)
    text = "path,label\na.jpg,0.0\nb.jpg,1\nc.jpg,2\nd.jpg,2.0\n"
    by_number = open_list(tmp_path, "list.csv", text, class_names=names)
    assert by_name.train.classes == by_number.train.classes == (COMPOSED, "tea", "2")
    assert labels_of(by_name) == labels_of(by_number)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (f"{COMPOSED}\n{DECOMPOSED}\n", "line 2: 'café' already is the name in line 1"),
        ("cat\nnan\n", "line 2: 'nan' stands for no name"),
        ("cat\n5.0\n", "line 2: the name '5' is a number, but this is class number 1"),
        ("cat\n01\n", "line 2: the name '01' is a number, but this is class number 1"),
    ],
)
def test_class_names_that_are_one_or_none_are_refused(tmp_path: Path, names: str, sentence: str) -> None:
    (tmp_path / "names.txt").write_text(names)
    with pytest.raises(DataError, match=sentence):
        open_list(tmp_path, "list.txt", "a.jpg 0\nb.jpg 1\n", class_names=tmp_path / "names.txt")


def test_columns_are_found_in_any_form_and_name_classes_by_the_rule(tmp_path: Path) -> None:
    text = f"image,{DECOMPOSED},5.0\n" + "".join(f"{i},{i % 2},{1 - i % 2}\n" for i in range(6))
    assert open_list(tmp_path, "hot.csv", text).train.classes == (COMPOSED, "5")
    named = f"image,{DECOMPOSED}\n" + "".join(f"{i},{i % 2}\n" for i in range(6))
    assert open_list(tmp_path, "named.csv", named, label_column=COMPOSED).train.classes == ("0", "1")
    assert "the columns '5' and '05' name one class" in refusal(tmp_path, "two.csv", "image,5,05\na,1,0\nb,0,1\n")


@pytest.mark.parametrize(("given", "index"), [(DECOMPOSED, 0), (f" {COMPOSED}", 0), ("5.0", 1)])
def test_the_exempt_class_is_found_in_any_form(tmp_path: Path, given: str, index: int) -> None:
    options = DataOptions(data=tmp_path, exempt_class=given)
    assert options.exempt_index((COMPOSED, "5", "tea")) == index
    assert options.exempt_index((DECOMPOSED, "5 ", "tea")) == index  # a run of an earlier version


@pytest.mark.parametrize("given", ["", "  ", "nan"])
def test_an_exempt_class_without_a_name_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(DataError, match="this is not a name"):
        DataOptions(data=tmp_path, exempt_class=given)


def test_the_class_list_of_official_checkpoints_reads_names_by_the_rule(tmp_path: Path) -> None:
    file = tmp_path / "classes.json"
    file.write_text(json.dumps([[5.0, 10], {"name": DECOMPOSED, "training_count": 3}, [12, 1]]))
    assert [info.name for info in read_class_list(file)] == ["5", COMPOSED, "12"]
    file.write_text(json.dumps([["5", 10], ["05", 3]]))
    with pytest.raises(DataError, match="entry 1: entry 0 already has the name '05'"):
        read_class_list(file)
    file.write_text(json.dumps([["cat", 10], [float("nan"), 3]]))
    with pytest.raises(DataError, match="entry 1: the name nan must be"):
        read_class_list(file)
