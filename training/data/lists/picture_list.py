"""What every list of pictures comes to, whatever its format: rows of path, label, split and group, checked together."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

import numpy as np

from training.data.labelled_files import LabelledFiles
from training.data.lists.text_lines import Faults
from training.data.picture_store import PictureStore, find_listed_file, open_store
from training.data.split_names import split_of
from training.errors import DataError

__all__ = ["PictureList", "Row", "parts_of_list"]

MAX_PATH = 4096
Result = TypeVar("Result")
_NUMBER = re.compile(r"[0-9]{1,9}")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


class Row(NamedTuple):
    """One picture as it is listed; `number` says where (`PictureList.where`)."""

    number: int
    path: str
    label: str
    split: str = ""
    group: str = ""


@dataclass(frozen=True)
class PictureList:
    """What a file lists.

    Attributes:
        path: of the file.
        rows: in the order of the file.
        where: how a row is called, `line {}`.
        classes: names in the order of the classes; None to find them in the labels.
        has_splits, has_groups: whether the rows say so.
        notes: what was left out, for people.

    """

    path: Path
    rows: list[Row]
    where: str = "line {}"
    classes: tuple[str, ...] | None = None
    has_splits: bool = False
    has_groups: bool = False
    notes: list[str] = field(default_factory=list)

    def at(self, row: Row) -> str:
        """Say where a row stands: `list.txt: line 7`."""
        return f"{self.path}: {self.where.format(row.number)}"


def parts_of_list(listing: PictureList, images: Path | None) -> tuple[dict[str, LabelledFiles], list[str]]:
    """Return the pictures by the name of their split ("" for all), and what is to be said of them.

    Args:
        listing: as a file says.
        images: folder or zip that the paths start in; None for the list's folder.

    Raises:
        DataError: a path leads out of `images`, a picture has two labels, labels that cannot be told, unknown splits.

    """
    if not listing.rows:
        raise DataError(f"{listing.path}: no picture is listed here")
    rows = _unique(_all_of(listing.rows, lambda row: row._replace(path=_inside(listing, row))), listing)
    notes = list(listing.notes)
    if len(rows) < len(listing.rows):
        notes.append(f"{len(listing.rows) - len(rows):,} rows repeat a picture and count once")
    classes, labels = _numbered(rows, listing)
    store = open_store(images or listing.path.parent)
    everything = LabelledFiles(
        source=listing.path.name,
        classes=classes,
        names=tuple(row.path for row in rows),
        labels=np.array(labels, np.int64),
        read=lambda name: store.read(find_listed_file(store, name)),
        where=lambda name: _where(store, name),
    )
    if listing.has_groups:
        groups, names = _groups(rows, notes)
        everything = replace(everything, groups=groups, group_names=names)
    return (_by_split(everything, rows, listing, notes) if listing.has_splits else {"": everything}), notes


def _all_of(rows: list[Row], read: Callable[[Row], Result]) -> list[Result]:
    """Read every row, and refuse all that cannot be read together."""
    results: list[Result] = []
    with Faults() as faults:
        for row in rows:
            try:
                results.append(read(row))
            except DataError as fault:
                faults.add(str(fault))
    return results


def _where(store: PictureStore, name: str) -> str:
    try:
        return store.where(find_listed_file(store, name))
    except OSError:
        return store.where(name)  # it is missing, and may be left out


def _inside(listing: PictureList, row: Row) -> str:
    """Return the path in its plainest form; refuse what leads elsewhere."""
    path = PurePosixPath(row.path)
    shown = row.path[:80]
    if not path.name:
        raise DataError(f"{listing.at(row)}: the path {shown!r} names no picture")
    if path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{listing.at(row)}: the path {shown!r} leads out of the folder of images; give paths below it, and that "
            "folder with --images"
        )
    if len(row.path) > MAX_PATH or not row.path.isprintable():
        raise DataError(f"{listing.at(row)}: the path {shown!r} is too long, or has a character that cannot be printed")
    return str(path)


def _unique(rows: list[Row], listing: PictureList) -> list[Row]:
    """Leave out rows that say the same again; refuse those that say otherwise."""
    first: dict[str, Row] = {}
    with Faults() as faults:
        for row in rows:
            known = first.setdefault(row.path, row)
            if known[1:] == row[1:]:
                continue
            what = next(name for name in ("label", "split", "group") if getattr(known, name) != getattr(row, name))
            here, there = (repr(getattr(each, what)) for each in (row, known))
            faults.add(
                f"{listing.at(row)}: {row.path} has the {what} {here} here but {there} in "
                f"{listing.where.format(known.number)}; keep the right one"
            )
    return list(first.values())


def _numbered(rows: list[Row], listing: PictureList) -> tuple[tuple[str, ...], list[int]]:
    """Return the class names in order, and each row's number among them."""
    with Faults() as faults:
        for row in rows:
            if not row.label:
                faults.add(f"{listing.at(row)}: {row.path} has no label; every picture needs one")
    if listing.classes is not None:
        return listing.classes, _among(rows, listing, listing.classes)
    numeric = _NUMBER.fullmatch(rows[0].label) is not None
    kind, other = ("is not a number", "is") if numeric else ("is a number", "is not")
    with Faults() as faults:
        for row in rows:
            if (_NUMBER.fullmatch(row.label) is not None) != numeric:
                faults.add(
                    f"{listing.at(row)}: label {row.label[:80]!r} {kind}, but that of the first picture {other}; use "
                    "one kind, or list all names with --class-names"
                )
    if numeric:
        _refuse_twice(rows, listing)
    names = sorted({row.label for row in rows}, key=int if numeric else None)
    index = {name: position for position, name in enumerate(names)}
    return tuple(names), [index[row.label] for row in rows]


def _refuse_twice(rows: list[Row], listing: PictureList) -> None:
    """Refuse a number that is written in two ways."""
    written: dict[int, str] = {}
    with Faults() as faults:
        for row in rows:
            if written.setdefault(int(row.label), row.label) != row.label:
                faults.add(
                    f"{listing.at(row)}: label {row.label!r} is {written[int(row.label)]!r} in the rows before; write "
                    "a class in one way"
                )


def _among(rows: list[Row], listing: PictureList, names: tuple[str, ...]) -> list[int]:
    """Return each label's number: that of its name where all labels are names, else the label itself."""
    index = {name: position for position, name in enumerate(names)}
    if all(row.label in index for row in rows):
        return [index[row.label] for row in rows]

    def number(row: Row) -> int:
        if not _INDEX.fullmatch(row.label) or int(row.label) >= len(names):
            raise DataError(
                f"{listing.at(row)}: label {row.label[:80]!r} is neither one of the {len(names)} class names nor a "
                f"number from 0 to {len(names) - 1}"
            )
        return int(row.label)

    return _all_of(rows, number)


def _groups(rows: list[Row], notes: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number the groups and name them; a picture of an unknown one is a group by itself, without a name."""
    number: dict[tuple[str, str], int] = {}
    keys = [(row.group, "" if row.group else row.path) for row in rows]
    if alone := sum(not row.group for row in rows):
        notes.append(f"{alone:,} pictures name no group and are each one of their own")
    groups = np.array([number.setdefault(key, len(number)) for key in keys], np.int64)
    return groups, tuple(group for group, _ in number)


def _by_split(
    everything: LabelledFiles, rows: list[Row], listing: PictureList, notes: list[str]
) -> dict[str, LabelledFiles]:
    splits = np.array([split_of(row.split) for row in rows])
    parts = {
        split: replace(everything.part(splits == split), split=split) for split in sorted(set(splits.tolist()) - {""})
    }
    others = Counter(row.split for row, split in zip(rows, splits, strict=True) if not split)
    if not parts:
        shown = ", ".join(repr(value[:40]) for value, _ in others.most_common(5))
        raise DataError(f"{listing.path}: its splits are called {shown}; train, val and test are known")
    if others:
        shown = ", ".join(f"{value[:40]!r}: {count:,}" for value, count in others.most_common(5))
        notes.append(f"pictures of other splits are not used ({shown})")
    return parts
