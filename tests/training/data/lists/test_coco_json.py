"""COCO-style JSON of classification: what counts as a labelled picture, and the sentence for everything else."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.data.lists.open_list import opened, refused

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


def test_ids_may_be_strings_with_gaps_and_unused_categories_are_no_classes(tmp_path: Path) -> None:
    splits = opened(tmp_path, "all.json", json.dumps(TREE))
    assert splits.train.classes == ("empty", "fox")
    assert (splits.train.class_counts + splits.test.class_counts).tolist() == [8, 8]


def test_pictures_of_no_and_of_two_categories_are_left_out_and_said(tmp_path: Path) -> None:
    annotations = copy.deepcopy(TREE["annotations"])
    annotations += [annotations[1], {"image_id": "x0", "category_id": "7"}]
    annotations.pop(5)
    splits = opened(tmp_path, "all.json", changed(annotations=annotations))
    names = splits.train.names + splits.test.names
    assert len(names) == 14
    assert not {"s0/0.jpg", "s1/5.jpg"} & set(names)
    assert "1 pictures without an annotation are left out" in splits.note
    assert "1 pictures with two different categories are left out" in splits.note


def test_a_field_of_the_image_groups_pictures(tmp_path: Path) -> None:
    images = [{**image, "location": index // 2} for index, image in enumerate(TREE["images"])]
    splits = opened(tmp_path, "all.json", changed(images=images), group_column="location", test_share=0.25)
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
        ('{"images": [', {}, "line 1, column 13: this is not JSON"),
        ("[" * 100_000, {}, "nested too deeply"),
        ('{"images": ' + "9" * 5000 + "}", {}, "this is not JSON"),
        (b'{"images": "\xff"}', {}, "is not UTF-8"),
        ("[]", {}, "not a JSON object with images, annotations and categories"),
        ('{"images": []}', {}, "there is no list 'annotations'"),
        (changed(images=[1]), {}, "images[0] is no object"),
        (changed(images=[]), {}, "annotations[0]: image_id 'x0' is the id of no image"),
        (changed(annotations=[]), {}, "no picture has exactly one category; 16 pictures without an annotation"),
        (changed(images=image(id=True)), {}, "images[0] has no 'id' that is a number or a string"),
        (changed(images=image(id="x1")), {}, "images[1] has the id 'x1' of another image"),
        (changed(images=image(file_name=None)), {}, "images[0] has no string 'file_name', the path of the picture"),
        (changed(images=image(file_name="../x.jpg")), {}, "images[0]: the path '../x.jpg' leads out"),
        (changed(images=image(file_name="s1/1.jpg")), {}, "images[1]: s1/1.jpg has the label 'fox' here but"),
        (changed(images=image(location=[1])), {"group_column": "location"}, "images[0]: 'location' is neither a"),
        (changed(annotations=annotation(category_id=5)), {}, "annotations[0]: category_id 5 is the id of no category"),
        (changed(annotations=annotation(category_id=7)), {}, "category_id 7 is the id of no category"),
        (changed(annotations=annotation(image_id=[])), {}, "annotations[0] has no 'image_id' that is a number"),
        (changed(categories=[*TREE["categories"], {"id": 8}]), {}, "categories[3] has the id 8 of another category"),
        (changed(categories=[*TREE["categories"], {"id": 1, "name": "fox"}]), {}, "is called 'fox', as categories[1]"),
        (changed(categories=[{"id": 1, "name": 5}]), {}, "categories[0] has a name that is no text"),
        (json.dumps(TREE), {"split_column": "phase"}, "its splits are called ''; train, val and test are known"),
        (json.dumps(TREE), {"label_column": "kind"}, "a COCO file has no use for --label-column"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, content: str | bytes, options: dict[str, str], sentence: str) -> None:
    assert sentence in refused(tmp_path, "all.json", content, **options)
