"""A data set in any format: labelled pictures to train on and to test on.

If the data set has no test part, one is split off (`split_off.py`). Both parts number the classes in the same way. The
model's classes are those with training pictures.
"""

from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from models.labelled_paths import counted
from training.data.classes import (
    check_exempt_class,
    keep_classes_with_pictures,
    note_missing_classes,
    number_as_before,
    renumber_classes,
)
from training.data.formats import is_list, read_parts
from training.data.labelled_files import LabelledFiles
from training.data.options import DataOptions, path_name
from training.data.split_off import split_off
from training.errors import DataError

__all__ = ["Splits", "TestPart", "check_test_part", "fingerprint", "open_given_test", "open_splits", "open_test"]


@dataclass(frozen=True)
class Splits:
    """The two parts of a data set.

    Attributes:
        train: pictures to train on; every class has some.
        test: pictures to score on, ordered by class, with the classes of `train`; a class may have none.
        note: how the test part was made and what was left out, for the user and for provenance.
        is_split_off: whether the test part was split off here; it can then be had again only from the same data.

    """

    train: LabelledFiles
    test: LabelledFiles
    note: str
    is_split_off: bool = False


def open_splits(options: DataOptions, class_names: tuple[str, ...] | None = None) -> Splits:
    """Open a data set to train on.

    Args:
        options: of the data set.
        class_names: the classes in the order in which a run has numbered them; None numbers them anew.

    Raises:
        DataError: the data set is broken or has no training pictures, an option does not fit it, or its classes are
            not those of the run.

    """
    found = _divide(options)
    if found.train is None:
        raise DataError(f"{options.data}: no train part, so there is nothing to train on")
    train = replace(keep_classes_with_pictures(found.train), source=f"{path_name(options.data)}, train split")
    if class_names is not None:
        train = number_as_before(train, class_names)
        train = train if is_list(options.data) else _sort_by_class(train)
    check_exempt_class(options, train.classes)
    test = _sort_by_class(renumber_classes(found.test, train.classes))
    return Splits(train, test, "; ".join([*found.notes, *note_missing_classes(test)]), found.is_split_off)


@dataclass(frozen=True)
class TestPart:
    """The test part alone; see `Splits` for `note` and `is_split_off`."""

    files: LabelledFiles
    note: str
    is_split_off: bool


def open_test(options: DataOptions, class_names: tuple[str, ...]) -> TestPart:
    """Open only the test part, for a model that knows `class_names`.

    If `options.test` is given, all its pictures are the test part. A class may have no pictures.

    Returns:
        The test part, ordered by class.

    Raises:
        DataError: see `open_splits`; or the model does not know one of the classes.

    """
    if options.test is not None:
        test, notes = open_given_test(options, options.test, class_names)
        return TestPart(test, "; ".join([_describe_test(test, options.test), *notes]), is_split_off=False)
    found = _divide(options)
    test = _sort_by_class(renumber_classes(found.test, class_names))
    return TestPart(test, "; ".join(found.notes), found.is_split_off)


def open_given_test(options: DataOptions, path: Path, class_names: tuple[str, ...]) -> tuple[LabelledFiles, list[str]]:
    """Open the test or val split of the data set `path`, or all its pictures, for a model that knows `class_names`.

    Returns:
        The pictures, ordered by class, and notes on what is left out.

    Raises:
        DataError: see `open_test`.

    """
    test, notes = _read_test(path, options)
    return _sort_by_class(renumber_classes(test, class_names)), notes


def fingerprint(files: LabelledFiles) -> str:
    """Return a hash of the pictures' names and classes that does not depend on their order."""
    lines = sorted(f"{name}\0{files.classes[label]}" for name, label in zip(files.names, files.labels, strict=True))
    return sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def check_test_part(options: DataOptions, part: TestPart, expected: str | None) -> None:
    """Check that a test part that was split off holds the pictures that were split off for training.

    Otherwise the model would be tested on pictures that it was trained on.

    Args:
        options: of the data set.
        part: its test part.
        expected: fingerprint of the test part at training, or None if unknown.

    Raises:
        DataError: the pictures differ, or the fingerprint is unknown.

    """
    if part.is_split_off and expected is None:
        raise DataError(
            f"{options.data}: no test part, and this model does not say which pictures it was trained on; put test "
            "pictures into test/CLASS/IMAGE, or name them with --test if the command is `evaluate`"
        )
    if part.is_split_off and fingerprint(part.files) != expected:
        raise DataError(
            f"{options.data}: the test part split off here differs from the one split off for training; repeat the "
            "data and options of the training, or name a set of only test pictures with --test"
        )


@dataclass(frozen=True)
class _Divided:
    """A data set divided into parts, whose classes are not numbered alike yet."""

    train: LabelledFiles | None
    test: LabelledFiles
    notes: list[str]
    is_split_off: bool


def _divide(options: DataOptions) -> _Divided:
    """Divide a data set: by --test, by its own splits, or by splitting off a test part."""
    parts, notes = read_parts(options.data, options)
    name = path_name(options.data)
    train = parts.get("train", parts.get(""))
    if options.test is not None:
        if "test" in parts:
            raise DataError(f"{options.data} already has a test part; drop --test {options.test}")
        test, more = _read_test(options.test, options)
        _check_apart(options, train, test)
        notes += [_describe_test(test, options.test), *more, *_note_unused(parts, "train", "")]
        notes += _note_shared_groups(train, test, options)
        return _Divided(train, test, notes, is_split_off=False)
    for split in ("test", "val"):
        if split in parts:
            notes.append(f"test part: the {split} split of {name}")
            notes += _note_unused(parts, "train", split)
            test = replace(parts[split], source=f"{name}, {split} split")
            notes += _note_shared_groups(train, test, options)
            return _Divided(train, test, notes, is_split_off=False)
    if train is None:
        raise DataError(f"{options.data}: no train, test or val part")
    chosen = split_off(train, options.test_share, options.seed)
    how = f"{options.test_share:.3g} of each class"
    if train.groups is not None:
        how += f" in whole groups of {options.group_column}"
    notes.append(f"test part: {how} of {name}, split off with seed {options.seed}")
    source = f"{name}, test part split off with seed {options.seed}"
    return _Divided(train.part(~chosen), replace(train.part(chosen), source=source), notes, is_split_off=True)


def _read_test(path: Path, options: DataOptions) -> tuple[LabelledFiles, list[str]]:
    """Return the test or val split of the data set that --test names, or all its pictures, and notes for the user."""
    parts, notes = read_parts(path, options)
    name = path_name(path)
    for split in ("test", "val", ""):
        if split in parts:
            test = replace(parts[split], source=f"{name}, {split} split" if split else name)
            return test, [*notes, *_note_unused(parts, split)]
    raise DataError(f"{path}: only a train part; name a file or folder of test pictures with --test")


def _sort_by_class(files: LabelledFiles) -> LabelledFiles:
    """Return the pictures ordered by class, so that every command has them in the same order."""
    return files.part(np.argsort(files.labels, kind="stable"))


def _check_apart(options: DataOptions, train: LabelledFiles | None, test: LabelledFiles) -> None:
    """Refuse two parts that share a picture, even under different names."""
    if train is None:
        return
    seen = set(map(train.location, train.names))
    if shared := [name for name in test.names if test.location(name) in seen]:
        raise DataError(
            f"{options.test}: {len(shared):,} of its {len(test):,} pictures are also in {options.data}, such as "
            f"{shared[0]}; a test needs pictures that the model was not trained on. Without --test, a test part is "
            "split off"
        )


def _describe_test(test: LabelledFiles, path: Path) -> str:
    return f"test part: {f'the {test.split} split of ' if test.split else ''}{path_name(path)}"


def _note_unused(parts: dict[str, LabelledFiles], *used: str) -> list[str]:
    """Return a note on every split that is neither trained on nor scored."""
    return [
        f"its {split} split ({counted(len(files))}) is not used" for split, files in parts.items() if split not in used
    ]


def _note_shared_groups(train: LabelledFiles | None, test: LabelledFiles, options: DataOptions) -> list[str]:
    shared = train.named_groups & test.named_groups if train is not None else set()
    return [f"{len(shared):,} values of {options.group_column} are in both parts"] if shared else []
