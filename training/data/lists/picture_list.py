"""Rows of path, label, split and group: what every list format is read into, and the checks that all formats share."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import compress
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from models.class_names import class_order, is_number, read_name, spelling_key
from models.errors import ClassNameError
from models.labelled_paths import counted
from models.sentences import first_few
from training.data.labelled_files import LabelledFiles
from training.data.lists.left_out import leave_out_unlabelled, note_other_splits
from training.data.lists.text_lines import Faults
from training.data.picture_store import PictureStore, find_listed_file, open_store
from training.data.split_names import split_of
from training.errors import DataError

__all__ = ["PictureList", "Row", "parts_of_list"]

MAX_PATH_LENGTH = 4096
Result = TypeVar("Result")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


class Row(NamedTuple):
    """One listed picture; `number` is its position in the file, such as a line number (see `PictureList.place`)."""

    number: int
    path: str
    label: str
    split: str = ""
    group: str = ""


@dataclass(frozen=True)
class PictureList:
    """The contents of a list.

    Attributes:
        path: of the list.
        rows: in the order of the list.
        place: how messages call a row, formatted with its number: `line {}`.
        classes: class names in the order of the class numbers, or None to derive them from the labels.
        has_splits: whether the rows have a split.
        has_groups: whether the rows have a group.
        notes: for the user, such as what the reader left out.

    """

    path: Path
    rows: list[Row]
    place: str = "line {}"
    classes: tuple[str, ...] | None = None
    has_splits: bool = False
    has_groups: bool = False
    notes: list[str] = field(default_factory=list)

    def place_of(self, row: Row) -> str:
        """Return the place of a row for a message: `list.txt: line 7`."""
        return f"{self.path}: {self.place.format(row.number)}"


def parts_of_list(
    listed: PictureList, images: Path | None, zip_encoding: str | None = None
) -> tuple[dict[str, LabelledFiles], list[str]]:
    """Check a list and return its pictures by split.

    Args:
        listed: the list.
        images: folder or zip that the paths are relative to; None for the folder of the list.
        zip_encoding: see `open_store`.

    Returns:
        split name ("" if the list has no splits) -> pictures, and the notes for the user.

    Raises:
        DataError: a path leads out of `images`, a picture has two labels, a label is ambiguous, or no split is known.

    """
    if not listed.rows:
        raise DataError(f"{listed.path}: the list has no pictures")
    rows = _map_rows(listed.rows, lambda row: _read_row(listed, row))
    store = open_store(images or listed.path.parent, zip_encoding)
    rows = _drop_repeated(rows, listed, store)
    notes = [*listed.notes, *_note_spellings(listed)]
    if len(rows) < len(listed.rows):
        again = len(listed.rows) - len(rows)
        many = "row repeats a picture and counts" if again == 1 else "rows repeat a picture and count"
        notes.append(f"{again:,} {many} once")
    labelled, unlabelled = leave_out_unlabelled(
        [row.label for row in rows], map(listed.place_of, rows), listed.classes or ()
    )
    rows = list(compress(rows, labelled))
    notes += unlabelled
    if not rows:
        raise DataError(f"{listed.path}: no picture has a label; {unlabelled[0]}")
    classes, labels = _number_labels(rows, listed)
    everything = LabelledFiles(
        source=listed.path.name,
        classes=classes,
        names=tuple(row.path for row in rows),
        labels=np.array(labels, np.int64),
        read=lambda name: store.read(find_listed_file(store, name)),
        location=lambda name: _location(store, name),
    )
    if listed.has_groups:
        groups, names = _number_groups(rows, notes)
        everything = replace(everything, groups=groups, group_names=names)
    return (_by_split(everything, rows, listed, notes) if listed.has_splits else {"": everything}), notes


def _map_rows(rows: list[Row], read: Callable[[Row], Result]) -> list[Result]:
    """Apply `read` to every row, and raise the DataErrors of all rows together."""
    results: list[Result] = []
    with Faults() as faults:
        for row in rows:
            try:
                results.append(read(row))
            except DataError as fault:
                faults.add(str(fault))
    return results


def _location(store: PictureStore, name: str) -> str:
    try:
        return store.location(find_listed_file(store, name))
    except OSError:
        return store.location(normalize("NFC", name))  # a missing picture: --max-unreadable may allow it


def _read_row(listed: PictureList, row: Row) -> Row:
    """Return the row with a clean path, and with its label, split and group read as names."""
    try:
        label, split, group = map(read_name, row[2:])
        return row._replace(path=_clean_path(listed, row), label=label, split=split, group=group)
    except ClassNameError as error:
        raise DataError(f"{listed.place_of(row)}: {error}") from error


def _note_spellings(listed: PictureList) -> list[str]:
    """Return a note on labels that are written in several ways and are one class, such as `5` and `5.0`."""
    spellings: dict[str, set[str]] = {}
    for label in {row.label for row in listed.rows}:
        spellings.setdefault(read_name(label), set()).add(label)
    several = [" and ".join(map(ascii, sorted(found))) for found in spellings.values() if len(found) > 1]
    return [f"labels that are one class: {first_few(sorted(several), separator='; ')}"] if several else []


def _clean_path(listed: PictureList, row: Row) -> str:
    """Return the row's path without redundant parts; refuse a path that leads out of the folder of images."""
    path = PurePosixPath(row.path)
    shown = row.path[:80]
    if not path.name:
        raise DataError(f"{listed.place_of(row)}: the path {shown!r} names no picture")
    if path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{listed.place_of(row)}: the path {shown!r} leads out of the folder of images; write paths relative to "
            "that folder and name it with --images"
        )
    if len(row.path) > MAX_PATH_LENGTH or not row.path.isprintable():
        raise DataError(
            f"{listed.place_of(row)}: the path {shown!r} has more than {MAX_PATH_LENGTH} characters, or an unprintable "
            "one"
        )
    return str(path)


def _drop_repeated(rows: list[Row], listed: PictureList, store: PictureStore) -> list[Row]:
    """Return the rows without further ones of the same file, such as `a` and `a.jpg`; refuse those that contradict."""
    first: dict[str, Row] = {}
    with Faults() as faults:
        for row in rows:
            known = first.setdefault(_location(store, row.path), row)
            if known[2:] == row[2:]:
                continue
            what = next(name for name in ("label", "split", "group") if getattr(known, name) != getattr(row, name))
            here, there = (repr(getattr(version, what)) for version in (row, known))
            other_name = "" if known.path == row.path else f", as {known.path}"
            faults.add(
                f"{listed.place_of(row)}: {row.path} has the {what} {here} here but {there} in "
                f"{listed.place.format(known.number)}{other_name}; keep the right one"
            )
    return list(first.values())


def _number_labels(rows: list[Row], listed: PictureList) -> tuple[tuple[str, ...], list[int]]:
    """Return the class names in order, and the class number of every row."""
    with Faults() as faults:
        for row in rows:
            if not row.label:
                faults.add(f"{listed.place_of(row)}: {row.path} has no label; a blank and NaN are none")
    if listed.classes is not None:
        return listed.classes, _number_by_classes(rows, listed, listed.classes)
    _refuse_negative(rows, listed)
    numeric = _is_class_number(rows[0].label)
    kind, other = ("is not a number", "is") if numeric else ("is a number", "is not")
    with Faults() as faults:
        for row in rows:
            if _is_class_number(row.label) != numeric:
                faults.add(
                    f"{listed.place_of(row)}: label {row.label[:80]!r} {kind}, but the label of the first picture "
                    f"{other}; use only numbers or only names, or list the class names with --class-names"
                )
    if numeric:
        _refuse_two_spellings(rows, listed)
    names = sorted({row.label for row in rows}, key=class_order)
    index = {name: position for position, name in enumerate(names)}
    return tuple(names), [index[row.label] for row in rows]


def _is_class_number(label: str) -> bool:
    """Return whether a label is a number; -1, as some programs write for "no label", is none."""
    return is_number(label) and not label.startswith("-")


def _refuse_negative(rows: list[Row], listed: PictureList) -> None:
    """Refuse negative numbers among class numbers: some programs write -1 for "no label"."""
    if not any(_is_class_number(row.label) for row in rows):
        return
    with Faults() as faults:
        for row in rows:
            if is_number(row.label) and not _is_class_number(row.label):
                faults.add(
                    f"{listed.place_of(row)}: label {row.label[:80]!r} is negative, and class numbers are not; write "
                    "no_label to leave the picture out"
                )


def _refuse_two_spellings(rows: list[Row], listed: PictureList) -> None:
    """Refuse a number that is written in two ways, such as 7 and 07."""
    spelling: dict[Decimal | str, str] = {}
    with Faults() as faults:
        for row in rows:
            known = spelling.setdefault(spelling_key(row.label), row.label)
            if known != row.label:
                faults.add(
                    f"{listed.place_of(row)}: label {row.label!r} was written {known!r} before; write a class number "
                    "in one way"
                )


def _number_by_classes(rows: list[Row], listed: PictureList, names: tuple[str, ...]) -> list[int]:
    """Return the class number of every row: by name if all labels are names, otherwise the label itself."""
    index = {name: position for position, name in enumerate(names)}
    if all(row.label in index for row in rows):
        return [index[row.label] for row in rows]

    def number(row: Row) -> int:
        if not _INDEX.fullmatch(row.label) or int(row.label) >= len(names):
            raise DataError(
                f"{listed.place_of(row)}: label {row.label[:80]!r} is neither one of the {len(names)} class names nor "
                f"a number from 0 to {len(names) - 1}"
            )
        return int(row.label)

    return _map_rows(rows, number)


def _number_groups(rows: list[Row], notes: list[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the group number of every row, and the name of every group.

    A picture without a group becomes a group of one, named "".
    """
    number: dict[tuple[str, str], int] = {}
    keys = [(row.group, "" if row.group else row.path) for row in rows]
    if alone := sum(not row.group for row in rows):
        notes.append(f"{counted(alone)} without a group: each counts as a group of one")
    groups = np.array([number.setdefault(key, len(number)) for key in keys], np.int64)
    return groups, tuple(group for group, _ in number)


def _by_split(
    everything: LabelledFiles, rows: list[Row], listed: PictureList, notes: list[str]
) -> dict[str, LabelledFiles]:
    splits = np.array([split_of(row.split) for row in rows])
    parts = {
        split: replace(everything.part(splits == split), split=split) for split in sorted(set(splits.tolist()) - {""})
    }
    try:
        notes += note_other_splits(row.split for row in rows)
    except DataError as error:
        raise DataError(f"{listed.path}: {error}") from error
    if not any(row.split for row in rows):
        raise DataError(f"{listed.path}: the column of the splits is blank; write train, val or test into it")
    if not parts:
        shown = first_few(dict.fromkeys(repr(row.split[:40]) for row in rows))
        raise DataError(f"{listed.path}: unknown splits {shown}; use train, val and test")
    return parts
