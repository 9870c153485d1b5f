"""COCO-style JSON for classification (iNaturalist, camera traps): `images`, `annotations`, `categories`.

Ids are numbers or strings and need not be consecutive. Classes are in the order of the categories. A picture counts if
it shows one category: pictures without an annotation, and pictures with two different ones, are left out and
counted, since in camera traps both are common and neither has the one label that training needs. Several annotations of
the same category, as of a herd, are one label.
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
    """Read the file; `columns` are fields of an image: `file_name` is the path, split and group are those named.

    Raises:
        DataError: not JSON, not of this form, an id that is unknown, missing or there twice.

    """
    tree = _parse(path)
    images, annotations, categories = (_objects(path, tree, key) for key in ("images", "annotations", "categories"))
    names = _category_names(path, categories)
    label_of, several = _labels(path, images, annotations, names)
    field = columns.path or "file_name"
    rows: list[Row] = []
    without = 0
    for index, image in enumerate(images):
        name = image.get(field)
        if not isinstance(name, str):
            raise DataError(f"{path}: images[{index}] has no string {field!r}, the path of the picture")
        label = label_of.get(image["id"])
        if label is None:
            without += image["id"] not in several
            continue
        split, group = (_value(path, index, image, column) for column in (columns.split, columns.group))
        rows.append(Row(index, name, label, split, group))
    notes = []
    if without:
        notes.append(f"{without:,} pictures without an annotation are left out")
    if several:
        notes.append(f"{len(several):,} pictures with two different categories are left out")
    if not rows:
        raise DataError(f"{path}: no picture has exactly one category" + "".join(f"; {note}" for note in notes))
    return PictureList(
        path,
        rows,
        where="images[{}]",
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
            f"{path}: nested too deeply; images, annotations and categories are lists of objects"
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {error.lineno}, column {error.colno}: this is not JSON ({error.msg})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except ValueError as error:
        raise DataError(f"{path}: this is not JSON ({error})") from error
    if not isinstance(tree, dict):
        raise DataError(f"{path}: not a JSON object with images, annotations and categories")
    return tree


def _objects(path: Path, tree: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = tree.get(key)
    if not isinstance(value, list):
        raise DataError(f"{path}: there is no list {key!r}; a COCO file has images, annotations and categories")
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise DataError(f"{path}: {key}[{index}] is no object")
    return value


def _id(path: Path, where: str, item: dict[str, Any], key: str) -> Id:
    value = item.get(key)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{path}: {where} has no {key!r} that is a number or a string")
    return value


def _category_names(path: Path, categories: list[dict[str, Any]]) -> dict[Id, str]:
    """Return id -> name, in the order of the file; a category without a name is called as its id."""
    names: dict[Id, str] = {}
    taken: dict[str, int] = {}
    for index, category in enumerate(categories):
        where = f"categories[{index}]"
        number = _id(path, where, category, "id")
        if number in names:
            raise DataError(f"{path}: {where} has the id {number!r} of another category")
        name = category.get("name", str(number))
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{path}: {where} has a name that is no text")
        if name.strip() in taken:
            raise DataError(f"{path}: {where} is called {name[:80]!r}, as categories[{taken[name.strip()]}] is")
        taken[name.strip()] = index
        names[number] = name.strip()
    return names


def _labels(
    path: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]], names: dict[Id, str]
) -> tuple[dict[Id, str], set[Id]]:
    """Return image id -> category name, and the ids of images with two different categories, which are not in it."""
    known: set[Id] = set()
    for index, image in enumerate(images):
        number = _id(path, f"images[{index}]", image, "id")
        if number in known:
            raise DataError(f"{path}: images[{index}] has the id {number!r} of another image")
        known.add(number)
    label_of: dict[Id, str] = {}
    several: set[Id] = set()
    with Faults() as faults:
        for index, annotation in enumerate(annotations):
            try:
                image, name = _annotated(path, f"annotations[{index}]", annotation, known, names)
            except DataError as fault:
                faults.add(str(fault))
                continue
            if label_of.setdefault(image, name) != name:
                several.add(image)
    return {image: label for image, label in label_of.items() if image not in several}, several


def _annotated(
    path: Path, where: str, annotation: dict[str, Any], images: set[Id], names: dict[Id, str]
) -> tuple[Id, str]:
    """Return which image an annotation is of, and the name of its category."""
    image, category = (_id(path, where, annotation, key) for key in ("image_id", "category_id"))
    if image not in images:
        raise DataError(f"{path}: {where}: image_id {image!r} is the id of no image")
    if category not in names:
        raise DataError(f"{path}: {where}: category_id {category!r} is the id of no category")
    return image, names[category]


def _value(path: Path, index: int, image: dict[str, Any], column: str | None) -> str:
    if column is None:
        return ""
    value = image.get(column)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{path}: images[{index}]: {column!r} is neither a number nor a string")
    return str(value).strip()
