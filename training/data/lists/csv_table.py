"""CSV and TSV files with a header.

Labels are in a label column, or one-hot in a column of 0 and 1 for each class, as in ISIC:

    image_id,location,split,label            image,MEL,NV,BCC
    a1.jpg,camera 7,train,empty              ISIC_0000000,0.0,1.0,0.0

The separator is a comma, a semicolon or a tab: the one that occurs most often in the header.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from models.class_names import read_name, spelling_key
from models.labelled_paths import IMAGE_SUFFIXES
from training.data.lists.left_out import UnusedSplitColumns
from training.data.lists.picture_list import PictureList, Row
from training.data.lists.text_lines import Faults, read_lines, read_names
from training.errors import DataError

__all__ = ["Columns", "read_csv_table"]

PATH_COLUMNS = ("path", "filepath", "file_path", "filename", "file_name", "file", "image", "image_path", "image_id")
LABEL_COLUMNS = ("label", "class", "class_name", "category", "species", "y", "category_id", "target")
SPLIT_COLUMN = "split"
MAX_COLUMNS_SHOWN = 12


@dataclass(frozen=True)
class Columns:
    """The names of the columns that a reader uses.

    If `path`, `label` or `split` is None, the reader looks for the usual names. A group column is used only if named.
    """

    path: str | None = None
    label: str | None = None
    split: str | None = None
    group: str | None = None


def read_csv_table(path: Path, columns: Columns, class_names: Path | None = None) -> PictureList:
    """Read a table.

    Args:
        path: of the table.
        columns: the columns to use.
        class_names: a file with the names of the classes, one a line, for labels that are class numbers.

    Raises:
        DataError: the header is missing, a column is missing or repeated, a row has the wrong number of columns, or
            a one-hot row does not mark exactly one class.

    """
    table = _read_rows(path)
    _, header = next(table, (1, []))
    names = list(map(_column_name, header))
    found = _find_columns(path, names, Columns(*(name and _column_name(name) for name in vars(columns).values())))
    one_hot = _OneHot(path, names, found) if found.label is None else None
    if one_hot and class_names is not None:
        raise DataError(f"{class_names}: the columns of {path} already name the classes; drop --class-names")
    cells = {role: names.index(column) for role, column in vars(found).items() if column is not None}
    rows: list[Row] = []
    unused = UnusedSplitColumns(set(names) - set(vars(found).values()), "--split-column")
    with Faults() as faults:
        for number, values in table:
            if len(values) != len(names):
                faults.add(f"{path}: line {number}: {len(values)} columns, but the header has {len(names)}")
                continue
            if unused.watching:
                unused.see(dict(zip(names, values, strict=True)))
            texts = {role: values[cell].strip() for role, cell in cells.items()}
            try:
                label = one_hot.label_of(number, values) if one_hot else texts["label"]
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
        notes=[f"columns of {path.name}: {_describe(found)}", *unused.notes],
    )


def _find_columns(path: Path, names: list[str], columns: Columns) -> Columns:
    """Return the columns to use: those asked for, otherwise those with the usual names."""
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{path}: line 1: two columns are named {repeated[:80]!r}; rename one")
    lower = {name.lower(): name for name in names}
    found = Columns(
        columns.path or next((lower[name] for name in PATH_COLUMNS if name in lower), None),
        columns.label or next((lower[name] for name in LABEL_COLUMNS if name in lower), None),
        columns.split or lower.get(SPLIT_COLUMN),
        columns.group,
    )
    if found.path is None and any(PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES for name in names):
        raise DataError(f"{path}: line 1: expected a header but found a picture; add the line path,label above it")
    if found.path is None:
        raise DataError(f"{path}: line 1: no path column found; name it with --path-column ({_list_columns(names)})")
    for role, column in vars(found).items():
        if column is not None and column not in names:
            raise DataError(f"{path}: line 1: no column {column!r} (--{role}-column); {_list_columns(names)}")
    return found


class _OneHot:
    """One-hot labels: every column except path, split and group is a class, and holds 1 for its pictures, else 0."""

    def __init__(self, path: Path, names: list[str], columns: Columns) -> None:
        self._path = path
        other_columns = {columns.path, columns.split, columns.group}
        self._cells = [(cell, read_name(name)) for cell, name in enumerate(names) if name not in other_columns]
        self.classes = tuple(name for _, name in self._cells)
        if len(self.classes) < 2:
            raise DataError(
                f"{path}: line 1: no label column found; name it with --label-column ({_list_columns(names)})"
            )
        first: dict[Decimal | str, int] = {}
        for cell, name in self._cells:
            if (other := first.setdefault(spelling_key(name), cell)) != cell:
                both = f"{names[other][:80]!r} and {names[cell][:80]!r}"
                raise DataError(f"{path}: line 1: the columns {both} name one class; rename one")

    def label_of(self, number: int, values: list[str]) -> str:
        """Return the class whose column holds 1 in line `number`."""
        marked: list[str] = []
        for cell, name in self._cells:
            value = _zero_or_one(values[cell])
            if value is None:
                raise DataError(
                    f"{self._path}: line {number}: {values[cell][:80]!r} in column {name[:80]!r} is neither 0 nor 1; "
                    "if the column is not a class, name the column of the labels with --label-column"
                )
            if value:
                marked.append(name)
        if len(marked) != 1:
            found = f"the columns {' and '.join(marked[:3])} are 1" if marked else "no column is 1"
            raise DataError(f"{self._path}: line {number}: {found}; a picture has exactly one class")
        return marked[0]


def _column_name(text: str) -> str:
    """Return a column's name in the form in which columns are compared."""
    return normalize("NFC", text).strip()


def _zero_or_one(text: str) -> bool | None:
    try:
        return {0.0: False, 1.0: True}.get(float(text))
    except ValueError:
        return None


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of the header and every row, skipping empty lines."""
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
        raise DataError(f"{path}: line {reader.line_num}: not valid CSV ({error}); look for a stray quote") from error


def _list_columns(names: list[str]) -> str:
    shown = ", ".join(name[:40] for name in names[:MAX_COLUMNS_SHOWN])
    return f"the header has {shown or 'no columns'}{', ...' if len(names) > MAX_COLUMNS_SHOWN else ''}"


def _describe(columns: Columns) -> str:
    words = [f"path {columns.path}", f"label {columns.label or 'one-hot'}"]
    if columns.split:
        words.append(f"split {columns.split}")
    if columns.group:
        words.append(f"group {columns.group}")
    return ", ".join(words)
