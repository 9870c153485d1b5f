"""Labelled pictures that have not been read yet: what every reader of data returns."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["LabelledFiles"]


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
