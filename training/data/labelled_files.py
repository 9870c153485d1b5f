"""Labelled pictures that have not been read yet: what every reader of data returns.

`find_labelled_files` finds pictures to choose alpha on. The folder of a picture names its class, at any depth. Unlike
training data (`class_folders.py`), the pictures may cover only a few of the classes. The service reads uploaded zips by
the same rule (`models/labelled_paths.py`), but knows no split other than `test`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.labelled_paths import IMAGE_SUFFIXES, class_folder, is_picture
from models.sentences import first_few
from training.data.picture_store import open_store
from training.data.split_names import split_of
from training.errors import DataError

__all__ = ["LabelledFiles", "find_labelled_files", "lies_below"]


@dataclass(frozen=True)
class LabelledFiles:
    """N pictures with their classes, not read yet.

    Attributes:
        source: the origin of the pictures for messages: `data.zip:train` or `photos.zip`.
        classes: C class names.
        names: N file names.
        labels: (N,) indices into `classes`.
        read: name -> contents of the file. Several threads may call it at once.
        groups: (N,) group numbers (a camera, a patient), or None. A test part that is split off never shares a group
            with the training part.
        location: name -> the location of the file with links resolved: the same for two names of one file.
        split: the split that the data set says this is, `train`, `val` or `test`; "" if it does not say.
        group_names: the name of every group, by number; "" for a picture without a group.

    """

    source: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    read: Callable[[str], bytes]
    groups: NDArray[np.int64] | None = None
    location: Callable[[str], str] = str
    split: str = ""
    group_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return N."""
        return len(self.names)

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """(C,) pictures per class."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    @property
    def named_groups(self) -> set[str]:
        """The names of the groups that these pictures belong to."""
        return set() if self.groups is None else {self.group_names[number] for number in np.unique(self.groups)} - {""}

    def part(self, chosen: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> Self:
        """Return a subset of the pictures, given as a mask (N,) or as indices."""
        index = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        groups = None if self.groups is None else self.groups[index]
        return replace(self, names=tuple(self.names[i] for i in index), labels=self.labels[index], groups=groups)


def find_labelled_files(path: Path, class_names: tuple[str, ...]) -> LabelledFiles:
    """Find the pictures of CLASS/IMAGE or test/CLASS/IMAGE, at any depth, in a folder or a zip.

    If there are test folders, only pictures below them count; otherwise the same holds for val folders.

    Raises:
        DataError: the path does not exist, holds no pictures, or holds a folder of pictures that is not a class.

    """
    store = open_store(path)
    pictures = [name for name in map(PurePosixPath, store.files()) if is_picture(name)]
    split, found = _test_pictures(pictures)
    if not found:
        raise DataError(
            f"{path}: no pictures found; put them into class folders, CLASS/IMAGE ({', '.join(sorted(IMAGE_SUFFIXES))})"
        )
    if loose := [name for name in found if not class_folder(name)]:
        raise DataError(f"{path}: {loose[0]} is not in a class folder; the folder of a picture names its class")
    if unknown := sorted({class_folder(name) for name in found} - set(class_names)):
        raise DataError(
            f"{path}: the model does not know {len(unknown)} of these classes: {first_few(unknown)}; "
            f"it knows {first_few(class_names)}"
        )
    index = {name: position for position, name in enumerate(class_names)}
    ordered = sorted(found, key=lambda name: (index[class_folder(name)], name))
    source = path.resolve().name + (f", {split} split" if split else "")
    labels = np.array([index[class_folder(name)] for name in ordered], np.int64)
    return LabelledFiles(
        source, class_names, tuple(map(str, ordered)), labels, store.read, location=store.location, split=split
    )


def lies_below(name: str, split: str) -> bool:
    """Return whether a picture is in a class folder below a folder of the split `train`, `val` or `test`.

    >>> [lies_below(name, "train") for name in ("set/Training/cat/1.png", "train/1.png")]
    [True, False]
    """
    return split in map(split_of, PurePosixPath(name).parts[:-2])


def _test_pictures(pictures: list[PurePosixPath]) -> tuple[str, list[PurePosixPath]]:
    """Return the pictures to choose alpha on, and their split."""
    for split in ("test", "val"):
        if chosen := [name for name in pictures if lies_below(str(name), split)]:
            return split, chosen
    return "", pictures
