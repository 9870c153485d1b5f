"""The classes of a data set: the model's classes are those with training pictures, numbered alike in every part."""

from dataclasses import replace

import numpy as np

from models.class_names import MAX_CLASS_NAME_LENGTH, ClassIndices, is_class_name
from models.labelled_paths import counted, hint_at_case
from models.sentences import first_few
from models.zip_names import as_earlier_versions_read
from training.data.labelled_files import LabelledFiles
from training.data.options import DataOptions
from training.errors import DataError

__all__ = [
    "check_exempt_class",
    "describe_classes",
    "keep_classes_with_pictures",
    "note_missing_classes",
    "number_as_before",
    "renumber_classes",
]


def renumber_classes(files: LabelledFiles, class_names: tuple[str, ...]) -> LabelledFiles:
    """Return the pictures with class numbers that index `class_names`.

    Raises:
        DataError: a picture's class is not in `class_names`.

    """
    number = ClassIndices(class_names)
    counts = files.class_counts
    unknown = [name for name, count in zip(files.classes, counts, strict=True) if count and name not in number]
    if unknown:
        raise DataError(
            f"{files.source}: the model does not know {len(unknown)} of these classes, which have no training "
            f"pictures: {first_few(unknown)}; remove their pictures here, or train with pictures of them"
            f"{_hint_encoding(unknown, class_names)}"
            f"{hint_at_case(unknown[0], class_names)}"
        )
    numbers = np.array([number.get(name, -1) for name in files.classes], np.int64)
    return replace(files, classes=class_names, labels=numbers[files.labels])


def keep_classes_with_pictures(files: LabelledFiles) -> LabelledFiles:
    """Return the pictures without the classes that have none.

    Raises:
        DataError: fewer than two classes have pictures, or a class name is too long or not printable.

    """
    present = np.flatnonzero(files.class_counts)
    if len(present) < 2:
        raise DataError(
            f"{files.source}: {len(present)} class has training pictures; a classifier needs two or more (CLASS/IMAGE)"
        )
    for name in (files.classes[index] for index in present):
        if not is_class_name(name):
            raise DataError(
                f"{files.source}: the class name {name[:80]!r} must be 1 to {MAX_CLASS_NAME_LENGTH} printable "
                "characters; rename the class"
            )
    return renumber_classes(files, tuple(files.classes[index] for index in present))


def number_as_before(files: LabelledFiles, class_names: tuple[str, ...]) -> LabelledFiles:
    """Return the training pictures with the class numbers and names of an earlier reading of the same data.

    Earlier versions sorted folders named 0 … 11 as text: 0, 1, 10, 11, 2.

    Raises:
        DataError: the data have other classes.

    """
    known = ClassIndices(class_names)
    new = [name for name in files.classes if name not in known]
    found = {known[name] for name in files.classes if name in known}
    gone = [name for index, name in enumerate(class_names) if index not in found]
    if new or gone:
        raise DataError(
            f"{files.source}: the run was started with other classes; only in the data: {first_few(new)}; only in the "
            f"run: {first_few(gone)}{_hint_encoding(new, class_names)}"
        )
    return renumber_classes(files, class_names)


def _hint_encoding(unknown: list[str], class_names: tuple[str, ...]) -> str:
    """Return a hint if the model knows a class by the name that an earlier version read in a zip."""
    for name in unknown:
        if earlier := as_earlier_versions_read(name, class_names):
            return (
                f". The model knows {name!r} as {earlier!r}, as an earlier version read the names of a zip; add "
                "--zip-encoding cp437 to read them so again"
            )
    return ""


def note_missing_classes(test: LabelledFiles) -> list[str]:
    """Return a note that names the classes without test pictures, if any."""
    missing = [name for name, count in zip(test.classes, test.class_counts, strict=True) if not count]
    if not missing:
        return []
    return [
        f"{len(missing)} of {len(test.classes)} classes have no test pictures and are not scored: {first_few(missing)}"
    ]


def describe_classes(files: LabelledFiles) -> str:
    """Return a sentence with the number of pictures and the first of their classes, so that a wrong class is seen."""
    return f"{files.source}: {counted(len(files))} of {len(files.classes):,} classes ({first_few(files.classes)})"


def check_exempt_class(options: DataOptions, class_names: tuple[str, ...]) -> None:
    """Check that the exempt class exists, and that it leaves two other classes.

    Raises:
        DataError: it does not.

    """
    name = options.exempt_class
    if name is not None and name not in ClassIndices(class_names):
        raise DataError(f"--exempt-class {name!r}: no such class; the classes are {first_few(class_names)}")
    if name is not None and len(class_names) < 3:
        raise DataError(f"--exempt-class {name!r}: only one other class; alpha needs two or more to choose between")
