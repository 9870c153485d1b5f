"""Labelled pictures that have not been read yet: what every loader of this folder returns.

`find_labelled_files` finds some to choose alpha on: whatever folder a picture lies in is its class. Unlike a data set
to train from (`class_folders.py`), a handful of the classes is enough. The service reads uploaded zips by the same
rule (`models/labelled_paths.py`), but knows no other split than `test`.
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
    """N pictures with their classes, not yet read.

    Attributes:
        source: where they came from, for people: `data.zip:train` or `photos.zip`.
        classes: C class names.
        names: N paths in there.
        labels: (N,) indices into `classes`.
        read: name -> bytes. Safe to call from several threads.
        groups: (N,) number of what a picture belongs to (a camera, a patient), or None. Where a test part is split
            off, pictures of one group are never on both sides.
        group_names: what the groups are called, by number; "" for a picture that is a group by itself.
        split: the data's own split that this is, `train`, `val` or `test`; "" where that is not known.
        where: name -> the one place where the picture lies, links followed, whatever it is called here.

    """

    source: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    read: Callable[[str], bytes]
    groups: NDArray[np.int64] | None = None
    where: Callable[[str], str] = str
    split: str = ""
    group_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return N."""
        return len(self.names)

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """(C,) pictures of each class."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    @property
    def named_groups(self) -> set[str]:
        """The names of the groups that pictures here belong to."""
        return set() if self.groups is None else {self.group_names[number] for number in np.unique(self.groups)} - {""}

    def part(self, chosen: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> Self:
        """Return some of the pictures: a mask (N,) or indices."""
        index = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        groups = None if self.groups is None else self.groups[index]
        return replace(self, names=tuple(self.names[i] for i in index), labels=self.labels[index], groups=groups)


def find_labelled_files(path: Path, class_names: tuple[str, ...]) -> LabelledFiles:
    """Find the pictures of CLASS/IMAGE or test/CLASS/IMAGE, or deeper, in a folder or a zip.

    Where there are test folders only what lies below them counts; else so with val folders.

    Raises:
        DataError: nothing there, no pictures, or a folder of pictures that is no class.

    """
    store = open_store(path)
    pictures = [name for name in map(PurePosixPath, store.files()) if is_picture(name)]
    split, found = _to_choose_on(pictures)
    if not found:
        raise DataError(
            f"{path}: no pictures here; put them into class folders, CLASS/IMAGE, {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    if loose := [name for name in found if not class_folder(name)]:
        raise DataError(f"{path}: {loose[0]} lies in no class folder; the folder a picture lies in is its class")
    if strangers := sorted({class_folder(name) for name in found} - set(class_names)):
        raise DataError(
            f"{path}: the model does not know {len(strangers)} of these classes: {first_few(strangers)}; "
            f"it knows {first_few(class_names)}"
        )
    index = {name: position for position, name in enumerate(class_names)}
    ordered = sorted(found, key=lambda name: (index[class_folder(name)], name))
    source = path.resolve().name + (f", {split} split" if split else "")
    labels = np.array([index[class_folder(name)] for name in ordered], np.int64)
    return LabelledFiles(
        source, class_names, tuple(map(str, ordered)), labels, store.read, where=store.where, split=split
    )


def lies_below(name: str, split: str) -> bool:
    """Say whether a picture of class folders lies below a folder of the split `train`, `val` or `test`.

    >>> [lies_below(name, "train") for name in ("set/Training/cat/1.png", "train/1.png")]
    [True, False]
    """
    return split in map(split_of, PurePosixPath(name).parts[:-2])


def _to_choose_on(pictures: list[PurePosixPath]) -> tuple[str, list[PurePosixPath]]:
    """Return which pictures alpha may be chosen on, and the split that they are."""
    for split in ("test", "val"):
        if chosen := [name for name in pictures if lies_below(str(name), split)]:
            return split, chosen
    return "", pictures
