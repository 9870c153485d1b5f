"""A data set in whatever format it comes: two lists of labelled pictures, one to train on and one to test on.

Where the data have no test part, one is split off (`split_off.py`). Both parts number the same classes in the same
way; a class of the model is one that has training pictures.
"""

from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from training.data.classes import (
    check_exempt_class,
    keep_classes_with_pictures,
    note_missing_classes,
    renumber_classes,
)
from training.data.formats import read_parts
from training.data.labelled_files import LabelledFiles
from training.data.options import DataOptions, path_name
from training.data.split_off import split_off
from training.errors import DataError

__all__ = ["Splits", "TestPart", "check_test_part", "fingerprint", "open_splits", "open_test"]


@dataclass(frozen=True)
class Splits:
    """The two parts of a data set.

    Attributes:
        train: to train on; each of its classes has pictures.
        test: to score on, its classes numbered as those of `train`, its pictures in their order; some classes may
            have none.
        note: how the test part came about and what was left out, for people and for provenance.
        is_split_off: the test part was split off here, so it is only had again from the same data.

    """

    train: LabelledFiles
    test: LabelledFiles
    note: str
    is_split_off: bool = False


def open_splits(options: DataOptions) -> Splits:
    """Open a data set.

    Raises:
        DataError: whatever is wrong with it; the message says where and what would work.

    """
    found = _divide(options)
    if found.train is None:
        raise DataError(f"{options.data}: there is no train part here; there is nothing to learn from")
    train = replace(keep_classes_with_pictures(found.train), source=f"{path_name(options.data)}, train split")
    check_exempt_class(options, train.classes)
    test = _by_class(renumber_classes(found.test, train.classes))
    return Splits(train, test, "; ".join([*found.notes, *note_missing_classes(test)]), found.is_split_off)


@dataclass(frozen=True)
class TestPart:
    """The test part alone; `note` and `is_split_off` as in `Splits`."""

    files: LabelledFiles
    note: str
    is_split_off: bool


def open_test(options: DataOptions, class_names: tuple[str, ...]) -> TestPart:
    """Open the test part alone, for a model that knows `class_names`; some of them may have no pictures in it.

    Its pictures are in the order of their classes. Where `options.test` is given, that is all of the part.

    Raises:
        DataError: as `open_splits`, or it has a class that the model does not know.

    """
    if options.test is not None:
        test, notes = _whole(options.test, options)
        found = _Divided(None, replace(test, source=path_name(options.test)), notes, is_split_off=False)
    else:
        found = _divide(options)
    test = _by_class(renumber_classes(found.test, class_names))
    return TestPart(test, "; ".join(found.notes), found.is_split_off)


def fingerprint(files: LabelledFiles) -> str:
    """Return a sum over names and classes, the same in whatever order they are."""
    lines = sorted(f"{name}\0{files.classes[label]}" for name, label in zip(files.names, files.labels, strict=True))
    return sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def check_test_part(options: DataOptions, part: TestPart, kept: str | None) -> None:
    """Refuse a test part that is split off and is not the one that was kept from training.

    Args:
        options: what was opened.
        part: its test part.
        kept: fingerprint of the test part of the training; None where it is not known.

    Raises:
        DataError: it is another.

    """
    if part.is_split_off and kept is None:
        raise DataError(
            f"{options.data}: it has no test part, and for this model it is not known which pictures it was trained "
            "on; put those that are all test into test/CLASS/IMAGE (`evaluate` takes them with --test too)"
        )
    if part.is_split_off and fingerprint(part.files) != kept:
        raise DataError(
            f"{options.data}: the test part that is split off here is not what was kept from training; give the data "
            "and options of the training again, or name pictures of which all are a test with --test"
        )


def _by_class(files: LabelledFiles) -> LabelledFiles:
    """Return the pictures in the order of their classes, so that whoever opens the part has them in the same order."""
    return files.part(np.argsort(files.labels, kind="stable"))


@dataclass(frozen=True)
class _Divided:
    train: LabelledFiles | None
    test: LabelledFiles
    notes: list[str]
    is_split_off: bool


def _divide(options: DataOptions) -> _Divided:
    """Say which pictures are whose; nothing is renumbered yet."""
    parts, notes = read_parts(options.data, options)
    name = path_name(options.data)
    train = parts.get("train", parts.get(""))
    if options.test is not None:
        if "test" in parts:
            raise DataError(f"{options.data} has a test part of its own; leave --test {options.test} away")
        test, more = _whole(options.test, options)
        _check_apart(options, train, test)
        notes += [f"test part: {path_name(options.test)}", *more, *_unused_val(parts)]
        notes += _groups_on_both_sides(train, test, options)
        return _Divided(train, replace(test, source=path_name(options.test)), notes, is_split_off=False)
    for split in ("test", "val"):
        if split in parts:
            notes.append(f"test part: the {split} split of {name}")
            notes += _unused_val(parts) if split == "test" else []
            test = replace(parts[split], source=f"{name}, {split} split")
            notes += _groups_on_both_sides(train, test, options)
            return _Divided(train, test, notes, is_split_off=False)
    if train is None:
        raise DataError(f"{options.data}: there is neither a train nor a test or val part to work with")
    chosen = split_off(train, options.test_share, options.seed)
    how = f"{options.test_share:.3g} of each class"
    if train.groups is not None:
        how += f" in whole groups of {options.group_column}"
    notes.append(f"test part: {how} of {name}, split off with seed {options.seed}")
    source = f"{name}, test part split off with seed {options.seed}"
    return _Divided(train.part(~chosen), replace(train.part(chosen), source=source), notes, is_split_off=True)


def _unused_val(parts: dict[str, LabelledFiles]) -> list[str]:
    return [f"its val split ({len(parts['val']):,} pictures) is not used"] if "val" in parts else []


def _check_apart(options: DataOptions, train: LabelledFiles | None, test: LabelledFiles) -> None:
    """Refuse two parts that hold the same picture, in whatever way each names it."""
    if train is None:
        return
    seen = set(map(train.where, train.names))
    if shared := [name for name in test.names if test.where(name) in seen]:
        raise DataError(
            f"{options.test}: {len(shared):,} of its {len(test):,} pictures are in {options.data} too, such as "
            f"{shared[0]}; a test on pictures that were trained on says nothing. Leave --test away to have a test "
            "part split off"
        )


def _groups_on_both_sides(train: LabelledFiles | None, test: LabelledFiles, options: DataOptions) -> list[str]:
    shared = train.named_groups & test.named_groups if train is not None else set()
    return (
        [f"values of {options.group_column} that are on both sides, as the data are divided: {len(shared):,}"]
        if shared
        else []
    )


def _whole(path: Path, options: DataOptions) -> tuple[LabelledFiles, list[str]]:
    """Open what is all test part: its test or val split where it has splits."""
    parts, notes = read_parts(path, options)
    for split in ("test", "val", ""):
        if split in parts:
            return parts[split], notes
    raise DataError(f"{path}: it has a train part only; name a file or folder of test pictures with --test")
