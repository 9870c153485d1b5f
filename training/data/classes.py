"""The classes of a data set: those with training pictures, numbered alike in every part."""

from dataclasses import replace

import numpy as np

from models.sentences import first_few
from training.data.labelled_files import LabelledFiles
from training.data.options import DataOptions
from training.errors import DataError

__all__ = ["check_exempt_class", "keep_classes_with_pictures", "note_missing_classes", "renumber_classes"]

MAX_CLASS_NAME = 200  # as the bundle's manifest has it


def renumber_classes(files: LabelledFiles, class_names: tuple[str, ...]) -> LabelledFiles:
    """Return the pictures with their classes numbered as `class_names`.

    Raises:
        DataError: there are pictures of a class that is not among them.

    """
    number = {name: index for index, name in enumerate(class_names)}
    counts = files.class_counts
    unknown = [name for name, count in zip(files.classes, counts, strict=True) if count and name not in number]
    if unknown:
        raise DataError(
            f"{files.source}: {len(unknown)} of its classes have no training pictures, so the model does not know "
            f"them: {first_few(unknown)}; leave their pictures out, or train with them"
        )
    numbers = np.array([number.get(name, -1) for name in files.classes], np.int64)
    return replace(files, classes=class_names, labels=numbers[files.labels])


def check_exempt_class(options: DataOptions, class_names: tuple[str, ...]) -> None:
    """Refuse an exempt class that is none of the classes, or the only one but one."""
    name = options.exempt_class
    if name is not None and name not in class_names:
        raise DataError(f"--exempt-class {name!r} is none of the classes; there are: {first_few(class_names)}")
    if name is not None and len(class_names) < 3:
        raise DataError(f"--exempt-class {name!r}: alpha needs two other classes to choose between, there is one")


def keep_classes_with_pictures(files: LabelledFiles) -> LabelledFiles:
    """Leave out the classes without pictures."""
    there = np.flatnonzero(files.class_counts)
    if len(there) < 2:
        raise DataError(
            f"{files.source}: {len(there)} class has training pictures; a classifier needs two or more (CLASS/IMAGE)"
        )
    for name in (files.classes[index] for index in there):
        if not (name.strip() and len(name) <= MAX_CLASS_NAME and name.isprintable()):
            raise DataError(
                f"{files.source}: the class name {name[:80]!r} is longer than {MAX_CLASS_NAME} characters, or has one "
                "that cannot be printed; call it otherwise"
            )
    return renumber_classes(files, tuple(files.classes[index] for index in there))


def note_missing_classes(test: LabelledFiles) -> list[str]:
    """Name the classes without test pictures."""
    missing = [name for name, count in zip(test.classes, test.class_counts, strict=True) if not count]
    if not missing:
        return []
    return [f"{len(missing)} of {len(test.classes)} classes have no test pictures and no figure: {first_few(missing)}"]
