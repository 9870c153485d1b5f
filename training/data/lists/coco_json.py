"""COCO-style JSON for classification, as in iNaturalist and camera-trap data: `images`, `annotations`, `categories`.

Ids are numbers or strings, read as names (`models/class_names.py`), so that 5 and 5.0 are one id; they need not be
consecutive. Classes are in the order of the categories. Several annotations
of one category, such as a herd, make one label. Pictures without an annotation and pictures with two different
categories do not have a single label: they are common in camera traps, so the reader leaves them out and counts them.
"""

import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from models.class_names import read_name, spelling_key
from models.errors import ClassNameError
from models.labelled_paths import counted
from models.sentences import first_few
from training.data.lists.csv_table import Columns
from training.data.lists.left_out import UnusedSplitColumns
from training.data.lists.picture_list import PictureList, Row
from training.data.lists.text_lines import Faults, check_list
from training.errors import DataError

__all__ = ["read_coco_json"]


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
    image_ids = _image_ids(path, images)
    labels = _labels(path, set(image_ids), annotations, names)
    path_field = columns.path or "file_name"
    for flag in ("split", "group"):
        _check_field(path, images, getattr(columns, flag), flag)
    rows: list[Row] = []
    without_annotation = 0
    for index, image in enumerate(images):
        name = image.get(path_field)
        if not isinstance(name, str):
            raise DataError(f"{path}: images[{index}]: no string {path_field!r}, the path of the picture")
        label = labels.of_image.get(image_ids[index])
        if label is None:
            without_annotation += image_ids[index] not in labels.ambiguous
            continue
        split, group = (_field_text(path, index, image, field) for field in (columns.split, columns.group))
        rows.append(Row(index, name, label, split, group))
    notes = []
    if without_annotation:
        notes.append(f"left out {counted(without_annotation)} without an annotation")
    if labels.ambiguous:
        notes.append(f"left out {counted(len(labels.ambiguous))} with two different categories")
    if labels.without_category:
        notes.append(f"left out {labels.without_category:,} annotations whose category is null or NaN")
    unused = UnusedSplitColumns(images[0].keys() - set(vars(columns).values()), "--split-column")
    for image in images if unused.watching else []:
        unused.see(image)
    notes += unused.notes
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


def _id(path: Path, place: str, item: dict[str, Any], key: str) -> str:
    found = _name(path, place, item, key)
    if not found:
        raise DataError(f"{path}: {place}: no {key!r}; it must be a number or a string")
    return found


def _name(path: Path, place: str, item: dict[str, Any], key: str) -> str:
    """Return the name in a field, "" if the field is missing, null or NaN."""
    try:
        return read_name(item.get(key))
    except ClassNameError as error:
        raise DataError(f"{path}: {place}: {key!r} must be a number or a string: {error}") from error


def _category_names(path: Path, categories: list[dict[str, Any]]) -> dict[str, str]:
    """Return id -> name in the order of the file; the name defaults to the id."""
    names: dict[str, str] = {}
    first_index: dict[Decimal | str, int] = {}
    for index, category in enumerate(categories):
        place = f"categories[{index}]"
        category_id = _id(path, place, category, "id")
        if category_id in names:
            raise DataError(f"{path}: {place}: another category already has the id {category_id[:80]}")
        name = _name(path, place, category, "name")
        if not name and isinstance(category.get("name"), str):
            raise DataError(
                f"{path}: {place}: the name {category['name'][:80]!r} is not a name; write a string that is not blank"
            )
        name = name or category_id
        if (first := first_index.setdefault(spelling_key(name), index)) != index:
            raise DataError(
                f"{path}: {place}: categories[{first}] already has the name {list(names.values())[first][:80]!r}"
            )
        names[category_id] = name
    return names


def _image_ids(path: Path, images: list[dict[str, Any]]) -> list[str]:
    ids: dict[str, None] = {}
    for index, image in enumerate(images):
        image_id = _id(path, f"images[{index}]", image, "id")
        if image_id in ids:
            raise DataError(f"{path}: images[{index}]: another image already has the id {image_id[:80]}")
        ids[image_id] = None
    return list(ids)


@dataclass(frozen=True)
class _Labels:
    """What the annotations say.

    Attributes:
        of_image: image id -> category name, of the images with one category.
        ambiguous: the ids of the images with several categories.
        without_category: the number of annotations whose category is null or NaN.

    """

    of_image: dict[str, str]
    ambiguous: set[str]
    without_category: int


def _labels(path: Path, image_ids: set[str], annotations: list[dict[str, Any]], names: dict[str, str]) -> _Labels:
    label_of: dict[str, str] = {}
    ambiguous: set[str] = set()
    without_category = 0
    with Faults() as faults:
        for index, annotation in enumerate(annotations):
            try:
                image_id, name = _read_annotation(path, f"annotations[{index}]", annotation, image_ids, names)
            except DataError as fault:
                faults.add(str(fault))
                continue
            if not name:
                without_category += 1
            elif label_of.setdefault(image_id, name) != name:
                ambiguous.add(image_id)
    of_image = {image_id: label for image_id, label in label_of.items() if image_id not in ambiguous}
    return _Labels(of_image, ambiguous, without_category)


def _read_annotation(
    path: Path, place: str, annotation: dict[str, Any], image_ids: set[str], names: dict[str, str]
) -> tuple[str, str]:
    """Return the id of the annotated image and the name of its category, "" if the category is null or NaN."""
    image_id = _id(path, place, annotation, "image_id")
    if image_id not in image_ids:
        raise DataError(f"{path}: {place}: no image has the id {image_id[:80]}")
    category_id = _name(path, place, annotation, "category_id")
    if not category_id and not _is_nothing(annotation, "category_id"):
        raise DataError(f"{path}: {place}: no 'category_id'; it must be a number or a string")
    if not category_id:
        return image_id, ""
    if category_id not in names:
        raise DataError(f"{path}: {place}: no category has the id {category_id[:80]}")
    return image_id, names[category_id]


def _is_nothing(item: dict[str, Any], key: str) -> bool:
    """Return whether a field is there and holds null or NaN, as pandas writes what a table lacks."""
    return key in item and not isinstance(item[key], str)


def _check_field(path: Path, images: list[dict[str, Any]], field: str | None, flag: str) -> None:
    """Refuse a field that is asked for, but that no image has, such as a misspelt one."""
    if field is not None and not any(field in image for image in images):
        fields = f"; the first image has {first_few(images[0])}" if images else ""
        raise DataError(f"{path}: no image has the field {field!r} (--{flag}-column){fields}")


def _field_text(path: Path, index: int, image: dict[str, Any], field: str | None) -> str:
    """Return a field of an image as text, "" if it is missing, null or NaN, or not asked for."""
    return "" if field is None else _name(path, f"images[{index}]", image, field)
