"""A CSV or TSV file with a header: a path and a label column, or a column of 0 and 1 for each class (ISIC).

    image_id,location,split,label            image,MEL,NV,BCC
    a1.jpg,camera 7,train,empty              ISIC_0000000,0.0,1.0,0.0

What separates the columns is the comma, semicolon or tab that the header has most of.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from models.labelled_paths import IMAGE_SUFFIXES
from training.data.lists.picture_list import PictureList, Row
from training.data.lists.text_lines import Faults, read_lines, read_names
from training.errors import DataError

__all__ = ["Columns", "read_csv_table"]

PATH_COLUMNS = ("path", "filepath", "file_path", "filename", "file_name", "file", "image", "image_path", "image_id")
LABEL_COLUMNS = ("label", "class", "class_name", "category", "species", "y", "category_id", "target")
SPLIT_COLUMN = "split"


@dataclass(frozen=True)
class Columns:
    """Names of columns; None looks for the usual ones (no group is looked for)."""

    path: str | None = None
    label: str | None = None
    split: str | None = None
    group: str | None = None


def read_csv_table(path: Path, columns: Columns, class_names: Path | None = None) -> PictureList:
    """Read the table.

    Raises:
        DataError: no header, a column that is missing or there twice, a row of another length, a label that is none.

    """
    table = _rows(path)
    _, header = next(table, (1, []))
    names = [name.strip() for name in header]
    found = _find(path, names, columns)
    one_hot = _OneHot(path, names, found) if found.label is None else None
    if one_hot and class_names is not None:
        raise DataError(f"{class_names}: the columns of {path} name the classes; leave --class-names away")
    cells = {what: names.index(column) for what, column in vars(found).items() if column is not None}
    rows: list[Row] = []
    with Faults() as faults:
        for number, values in table:
            if len(values) != len(names):
                faults.add(f"{path}: line {number}: {len(values)} columns, but the header has {len(names)}")
                continue
            texts = {what: values[cell].strip() for what, cell in cells.items()}
            try:
                label = one_hot.of(number, values) if one_hot else texts["label"]
            except DataError as fault:
                faults.add(str(fault))
                continue
            rows.append(Row(number, texts["path"], label, texts.get("split", ""), texts.get("group", "")))
    return PictureList(
        path,
        rows,
        classes=one_hot.classes if one_hot else read_names(class_names) if class_names else None,
        has_splits=found.split is not None,
        has_groups=found.group is not None,
        notes=[f"columns of {path.name}: {_said(found)}"],
    )


def _find(path: Path, names: list[str], columns: Columns) -> Columns:
    """Return which columns hold what: as asked for, else of the usual names."""
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{path}: line 1: the column {twice[:80]!r} is there twice; give each a name of its own")
    lower = {name.lower(): name for name in names}
    found = Columns(
        columns.path or next((lower[name] for name in PATH_COLUMNS if name in lower), None),
        columns.label or next((lower[name] for name in LABEL_COLUMNS if name in lower), None),
        columns.split or lower.get(SPLIT_COLUMN),
        columns.group,
    )
    if found.path is None and any(PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES for name in names):
        raise DataError(f"{path}: line 1 lists a picture, and should be a header: put path,label above it")
    if found.path is None:
        raise DataError(f"{path}: line 1: which column holds the paths? Say so with --path-column; {_there(names)}")
    for what, column in vars(found).items():
        if column is not None and column not in names:
            raise DataError(f"{path}: line 1: there is no column {column!r} (--{what}-column); {_there(names)}")
    return found


class _OneHot:
    """Every column but path, split and group is a class, and holds 1 for its pictures, 0 for others."""

    def __init__(self, path: Path, names: list[str], columns: Columns) -> None:
        self._path = path
        taken = {columns.path, columns.split, columns.group}
        self._cells = [(cell, name) for cell, name in enumerate(names) if name not in taken]
        self.classes = tuple(name for _, name in self._cells)
        if len(self.classes) < 2:
            raise DataError(
                f"{path}: line 1: which column holds the labels? Say so with --label-column; {_there(names)}"
            )

    def of(self, number: int, values: list[str]) -> str:
        """Return the class whose column holds 1."""
        ones: list[str] = []
        for cell, name in self._cells:
            value = _zero_or_one(values[cell])
            if value is None:
                raise DataError(
                    f"{self._path}: line {number}: column {name[:80]!r} holds {values[cell][:80]!r}, neither 0 nor 1; "
                    "if it is no class, say with --label-column which column holds the label"
                )
            if value:
                ones.append(name)
        if len(ones) != 1:
            found = f"the columns {' and '.join(ones[:3])} are 1" if ones else "no column is 1"
            raise DataError(f"{self._path}: line {number}: {found}; a picture has exactly one class")
        return ones[0]


def _zero_or_one(text: str) -> bool | None:
    try:
        return {0.0: False, 1.0: True}.get(float(text))
    except ValueError:
        return None


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells), the header first; lines of nothing are passed over."""
    lines = read_lines(path)
    header = next(lines, "")

    def every_line() -> Iterator[str]:
        yield header
        yield from lines

    separator = max(",;\t", key=header.count)
    reader = csv.reader(every_line(), delimiter=separator, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: this is no CSV ({error}); look for a lone quote") from error


def _there(names: list[str]) -> str:
    return f"there are: {', '.join(name[:40] for name in names[:12])}{', ...' if len(names) > 12 else ''}"


def _said(columns: Columns) -> str:
    label = columns.label or "one of 0 and 1 for each class"
    said = [f"path {columns.path}", f"label {label}"]
    return ", ".join(
        said + [f"{what} {name}" for what, name in vars(columns).items() if what in ("split", "group") and name]
    )
