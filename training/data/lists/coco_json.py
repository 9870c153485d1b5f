"""COCO-style JSON for classification, as in iNaturalist and camera-trap data: `images`, `annotations`, `categories`.

Ids are numbers or strings and need not be consecutive. Classes are in the order of the categories. Several annotations
of one category, such as a herd, make one label. Pictures without an annotation and pictures with two different
categories do not have a single label: they are common in camera traps, so the reader leaves them out and counts them.
"""

import json
from pathlib import Path
from typing import Any

from training.data.lists.csv_table import Columns
from training.data.lists.picture_list import PictureList, Row
from training.data.lists.text_lines import Faults, check_list
from training.errors import DataError

__all__ = ["read_coco_json"]

Id = int | str


def read_coco_json(path: Path, columns: Columns) -> PictureList:
    """Read a COCO file.

    Args:
        path: of the file.
        columns: the fields of an image that hold its path (by default `file_name`), its split and its group. If split
            or group is None, the pictures have none.

    Raises:
        DataError: the file is not JSON or not COCO, or an id is unknown, missing or repeated.

    """
    tree = _parse(path)
    images, annotations, categories = (_objects(path, tree, key) for key in ("images", "annotations", "categories"))
    names = _category_names(path, categories)
    label_of, ambiguous = _labels(path, images, annotations, names)
    path_field = columns.path or "file_name"
    rows: list[Row] = []
    without_annotation = 0
    for index, image in enumerate(images):
        name = image.get(path_field)
        if not isinstance(name, str):
            raise DataError(f"{path}: images[{index}]: no string {path_field!r}, the path of the picture")
        label = label_of.get(image["id"])
        if label is None:
            without_annotation += image["id"] not in ambiguous
            continue
        split, group = (_field_text(path, index, image, field) for field in (columns.split, columns.group))
        rows.append(Row(index, name, label, split, group))
    notes = []
    if without_annotation:
        notes.append(f"left out {without_annotation:,} pictures without an annotation")
    if ambiguous:
        notes.append(f"left out {len(ambiguous):,} pictures with two different categories")
    if not rows:
        raise DataError(f"{path}: no picture has exactly one category" + "".join(f"; {note}" for note in notes))
    return PictureList(
        path,
        rows,
        place="images[{}]",
        classes=tuple(names.values()),
        has_splits=columns.split is not None,
        has_groups=columns.group is not None,
        notes=notes,
    )


def _parse(path: Path) -> dict[str, Any]:
    check_list(path)
    try:
        tree = json.loads(path.read_bytes())
    except RecursionError as error:
        raise DataError(
            f"{path}: nested too deeply; images, annotations and categories must be lists of objects"
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {error.lineno}, column {error.colno}: not valid JSON ({error.msg})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(tree, dict):
        raise DataError(f"{path}: expected a JSON object with images, annotations and categories")
    return tree


def _objects(path: Path, tree: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = tree.get(key)
    if not isinstance(value, list):
        raise DataError(f"{path}: no list {key!r}; a COCO file has images, annotations and categories")
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise DataError(f"{path}: {key}[{index}]: not an object")
    return value


def _id(path: Path, place: str, item: dict[str, Any], key: str) -> Id:
    value = item.get(key)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{path}: {place}: {key!r} must be a number or a string")
    return value


def _category_names(path: Path, categories: list[dict[str, Any]]) -> dict[Id, str]:
    """Return id -> name in the order of the file; the name defaults to the id."""
    names: dict[Id, str] = {}
    first_index: dict[str, int] = {}
    for index, category in enumerate(categories):
        place = f"categories[{index}]"
        category_id = _id(path, place, category, "id")
        if category_id in names:
            raise DataError(f"{path}: {place}: another category already has the id {category_id!r}")
        name = category.get("name", str(category_id))
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{path}: {place}: the name must be a string that is not blank")
        name = name.strip()
        if name in first_index:
            raise DataError(f"{path}: {place}: categories[{first_index[name]}] already has the name {name[:80]!r}")
        first_index[name] = index
        names[category_id] = name
    return names


def _labels(
    path: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]], names: dict[Id, str]
) -> tuple[dict[Id, str], set[Id]]:
    """Return image id -> category name of the images with one category, and the ids of those with several."""
    image_ids: set[Id] = set()
    for index, image in enumerate(images):
        image_id = _id(path, f"images[{index}]", image, "id")
        if image_id in image_ids:
            raise DataError(f"{path}: images[{index}]: another image already has the id {image_id!r}")
        image_ids.add(image_id)
    label_of: dict[Id, str] = {}
    ambiguous: set[Id] = set()
    with Faults() as faults:
        for index, annotation in enumerate(annotations):
            try:
                image_id, name = _read_annotation(path, f"annotations[{index}]", annotation, image_ids, names)
            except DataError as fault:
                faults.add(str(fault))
                continue
            if label_of.setdefault(image_id, name) != name:
                ambiguous.add(image_id)
    return {image_id: label for image_id, label in label_of.items() if image_id not in ambiguous}, ambiguous


def _read_annotation(
    path: Path, place: str, annotation: dict[str, Any], image_ids: set[Id], names: dict[Id, str]
) -> tuple[Id, str]:
    """Return the id of the annotated image and the name of its category."""
    image_id, category_id = (_id(path, place, annotation, key) for key in ("image_id", "category_id"))
    if image_id not in image_ids:
        raise DataError(f"{path}: {place}: no image has the id {image_id!r}")
    if category_id not in names:
        raise DataError(f"{path}: {place}: no category has the id {category_id!r}")
    return image_id, names[category_id]


def _field_text(path: Path, index: int, image: dict[str, Any], field: str | None) -> str:
    """Return a field of an image as text, "" if the field is missing or not asked for."""
    if field is None:
        return ""
    value = image.get(field)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{path}: images[{index}]: {field!r} must be a number or a string")
    return str(value).strip()
