"""Split a test part off a data set that has none: stratified by class, whole groups, the same for everyone.

Without groups every class gives round(share · n) of its n pictures, at least one where it has two or more, and keeps at
least one. With groups (cameras, patients) a group goes as a whole, since pictures of one camera are all alike and a
test on them would flatter. Groups are taken in random order, and one moves to the test part if that brings the part
nearer to the share of every class,

    Σ_c (t_c − s·n_c)² / (s·n_c)        t_c test pictures of class c, n_c all of them, s the share

and leaves every class a training picture. scikit-learn's StratifiedGroupKFold promises neither the last, nor a
share other than one in k.

The order is that of a hash of seed and name, not of a random generator, whose numbers may change with its library.
"""

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from training.data.labelled_files import LabelledFiles
from training.errors import DataError

__all__ = ["split_count", "split_off"]

Int = NDArray[np.int64]


def split_off(files: LabelledFiles, share: float, seed: int) -> NDArray[np.bool_]:
    """Return (N,) which pictures are the test part.

    Args:
        files: N pictures; whole groups stay together where it has groups.
        share: of each class, between 0 and 1.
        seed: another one splits otherwise.

    Raises:
        DataError: the share is none, or nothing can be split off without leaving a class without training pictures.

    """
    if not 0.0 < share < 1.0:
        raise DataError(f"--test-share {share:g} is not between 0 and 1; 0.2 splits a fifth off as the test part")
    chosen = _by_class(files, share, seed) if files.groups is None else _by_group(files, files.groups, share, seed)
    if not chosen.any():
        what = "group" if files.groups is not None else "picture"
        raise DataError(
            f"{files.source}: no {what} can be split off for a test part without leaving a class without training "
            "pictures; name a test part of your own with --test"
        )
    return chosen


def split_count(pictures: int, share: float) -> int:
    """Return how many of the pictures of one class are split off where there are no groups.

    >>> [split_count(pictures, 0.2) for pictures in (1, 2, 5, 13)]
    [0, 1, 1, 3]
    """
    return min(pictures - 1, max(1, round(share * pictures)))


def _by_class(files: LabelledFiles, share: float, seed: int) -> NDArray[np.bool_]:
    chosen = np.zeros(len(files), dtype=bool)
    order = _shuffled(files.names, seed)
    labels = files.labels[order]
    for mine in np.split(order[np.argsort(labels, kind="stable")], np.cumsum(files.class_counts)[:-1]):
        chosen[mine[: split_count(len(mine), share)]] = True
    return chosen


def _by_group(files: LabelledFiles, groups: Int, share: float, seed: int) -> NDArray[np.bool_]:
    by_group = np.argsort(groups, kind="stable")
    numbers, first = np.unique(groups[by_group], return_index=True)
    members = np.split(by_group, first[1:])
    # A group is known by its first picture: its number depends on what else is listed.
    order = _shuffled(tuple(min(files.names[i] for i in mine) for mine in members), seed)
    counts = files.class_counts
    aim = share * counts
    taken = np.zeros(len(counts), np.int64)
    test_groups = np.zeros(len(numbers), dtype=bool)
    for group in order:
        label, images = np.unique(files.labels[members[group]], return_counts=True)
        after = taken[label] + images
        change = ((after - aim[label]) ** 2 - (taken[label] - aim[label]) ** 2) / aim[label]
        if (after < counts[label]).all() and change.sum() < 0:
            taken[label] = after
            test_groups[group] = True
    chosen = np.zeros(len(files), dtype=bool)
    for group in np.flatnonzero(test_groups):
        chosen[members[group]] = True
    return chosen


def _shuffled(names: tuple[str, ...], seed: int) -> Int:
    """Return (N,) indices in an order that depends on the names and the seed alone."""
    digests = [blake2b(f"{seed}\0{name}".encode(errors="surrogateescape"), digest_size=16).digest() for name in names]
    return np.array(sorted(range(len(names)), key=digests.__getitem__), dtype=np.int64)
