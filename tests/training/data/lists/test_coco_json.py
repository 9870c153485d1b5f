"""COCO-style JSON: which pictures have a label, and the message for every fault."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.data.lists.open_list import open_list, refusal

TREE: dict[str, Any] = {
    "info": {"year": 2018},
    "images": [
        {"id": f"x{i}", "file_name": f"s{i % 4}/{i}.jpg", "location": i % 4, "split": "train"} for i in range(16)
    ],
    "annotations": [{"id": i, "image_id": f"x{i}", "category_id": (99, "7")[i % 2]} for i in range(16)],
    "categories": [{"id": 99, "name": "empty"}, {"id": "7", "name": "fox"}, {"id": 8, "name": "unseen"}],
}


def changed(**parts: Any) -> str:
    return json.dumps(TREE | parts)


def test_ids_may_be_strings_with_gaps_and_unused_categories_are_dropped(tmp_path: Path) -> None:
    splits = open_list(tmp_path, "all.json", json.dumps(TREE))
    assert splits.train.classes == ("empty", "fox")
    assert (splits.train.class_counts + splits.test.class_counts).tolist() == [8, 8]


def test_pictures_without_exactly_one_category_are_left_out_and_counted(tmp_path: Path) -> None:
    annotations = copy.deepcopy(TREE["annotations"])
    annotations += [annotations[1], {"image_id": "x0", "category_id": "7"}]
    annotations.pop(5)
    splits = open_list(tmp_path, "all.json", changed(annotations=annotations))
    names = splits.train.names + splits.test.names
    assert len(names) == 14
    assert not {"s0/0.jpg", "s1/5.jpg"} & set(names)
    assert "left out 1 picture without an annotation" in splits.note
    assert "left out 1 picture with two different categories" in splits.note


def test_a_field_of_the_image_groups_pictures(tmp_path: Path) -> None:
    images = [{**image, "location": index // 2} for index, image in enumerate(TREE["images"])]
    splits = open_list(tmp_path, "all.json", changed(images=images), group_column="location", test_share=0.25)
    cameras = {name: image["location"] for image in images for name in [image["file_name"]]}
    sides = [{cameras[name] for name in part.names} for part in (splits.train, splits.test)]
    assert sides[1]
    assert not sides[0] & sides[1]


def image(**fields: Any) -> list[dict[str, Any]]:
    return [TREE["images"][0] | fields, *TREE["images"][1:]]


def annotation(**fields: Any) -> list[dict[str, Any]]:
    return [TREE["annotations"][0] | fields, *TREE["annotations"][1:]]


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        ("", {}, "the file is empty"),
        ('{"images": [', {}, "line 1, column 13: not valid JSON"),
        ("[" * 100_000, {}, "nested too deeply"),
        ('{"images": ' + "9" * 5000 + "}", {}, "not valid JSON"),
        (b'{"images": "\xff"}', {}, "is not UTF-8"),
        ("[]", {}, "expected a JSON object with images, annotations and categories"),
        ('{"images": []}', {}, "no list 'annotations'"),
        (changed(images=[1]), {}, "images[0]: not an object"),
        (changed(images=[]), {}, "annotations[0]: no image has the id x0"),
        (changed(annotations=[]), {}, "no picture has exactly one category; left out 16 pictures without"),
        (changed(images=image(id=True)), {}, "images[0]: 'id' must be a number or a string"),
        (changed(images=image(id="x1")), {}, "images[1]: another image already has the id x1"),
        (changed(images=image(file_name=None)), {}, "images[0]: no string 'file_name', the path of the picture"),
        (changed(images=image(file_name="../x.jpg")), {}, "images[0]: the path '../x.jpg' leads out"),
        (changed(images=image(file_name="s1/1.jpg")), {}, "images[1]: s1/1.jpg has the label 'fox' here but"),
        (changed(images=image(location=[1])), {"group_column": "location"}, "images[0]: 'location' must be a number"),
        (changed(annotations=annotation(category_id=5)), {}, "annotations[0]: no category has the id 5"),
        (changed(annotations=annotation(image_id=[])), {}, "annotations[0]: 'image_id' must be a number"),
        (changed(categories=[*TREE["categories"], {"id": 8}]), {}, "another category already has the id 8"),
        (changed(categories=[*TREE["categories"], {"id": 1, "name": "fox"}]), {}, "categories[1] already has the name"),
        (changed(categories=[{"id": 1, "name": " "}]), {}, "categories[0]: the name ' ' is not a name; write a string"),
        (changed(categories=[{"id": 1, "name": "nan"}]), {}, "categories[0]: the name 'nan' is not a name"),
        (changed(categories=[{"id": 1, "name": True}]), {}, "categories[0]: 'name' must be a number or a string: True"),
        (json.dumps(TREE), {"split_column": "phase"}, "no image has the field 'phase' (--split-column); the first"),
        (json.dumps(TREE), {"group_column": "site"}, "no image has the field 'site' (--group-column); the first image"),
        (
            changed(categories=[{"id": 1, "name": 7.0}, {"id": 2, "name": "07"}]),
            {},
            "categories[1]: categories[0] already has the name '7'",
        ),
        (json.dumps(TREE), {"label_column": "kind"}, "--label-column does not apply to a COCO file; drop it"),
    ],
)  # fmt: skip
def test_a_fault_is_named(tmp_path: Path, content: str | bytes, options: dict[str, str], sentence: str) -> None:
    assert sentence in refusal(tmp_path, "all.json", content, **options)
