"""Splitting a test part off a data set that has none.

The split is stratified by class, keeps groups whole, and is the same on every machine.

Without groups, a class gives round(share · n) of its n pictures. A class of two or more gives at least one; every class
keeps at least one. With groups (cameras, patients), a whole group goes to one side: pictures of one camera look alike,
so a test part that shared cameras with the training part would flatter the model. Groups are tried in a shuffled order.
A group moves to the test part if that brings the part nearer to the share of every class,

    Σ_c (t_c − s·n_c)² / (s·n_c)        t_c test pictures of class c, n_c all of them, s the share

and if every class keeps a training picture. scikit-learn's StratifiedGroupKFold does not promise the latter, and only
knows shares of 1 / k.

The order comes from a hash of seed and name: a random generator may change with its library.
"""

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from training.data.labelled_files import LabelledFiles
from training.errors import DataError

__all__ = ["split_count", "split_off"]

Int = NDArray[np.int64]


def split_off(files: LabelledFiles, share: float, seed: int) -> NDArray[np.bool_]:
    """Choose the pictures of the test part.

    Args:
        files: N pictures; their groups, if any, stay whole.
        share: of each class, between 0 and 1.
        seed: selects one of many splits.

    Returns:
        (N,) mask of the test part.

    Raises:
        DataError: the share is out of range, or every split would leave a class without training pictures.

    """
    if not 0.0 < share < 1.0:
        raise DataError(f"--test-share {share:g} must be between 0 and 1; 0.2 splits off a fifth")
    chosen = _by_class(files, share, seed) if files.groups is None else _by_group(files, files.groups, share, seed)
    if not chosen.any():
        what = "group" if files.groups is not None else "picture"
        raise DataError(
            f"{files.source}: no {what} can be split off for testing, because a class would be left without training "
            "pictures; name test pictures with --test"
        )
    return chosen


def split_count(pictures: int, share: float) -> int:
    """Return how many pictures a class of this size gives to the test part if there are no groups.

    >>> [split_count(pictures, 0.2) for pictures in (1, 2, 5, 13)]
    [0, 1, 1, 3]
    """
    return min(pictures - 1, max(1, round(share * pictures)))


def _by_class(files: LabelledFiles, share: float, seed: int) -> NDArray[np.bool_]:
    chosen = np.zeros(len(files), dtype=bool)
    order = _shuffled(files.names, seed)
    labels = files.labels[order]
    for of_class in np.split(order[np.argsort(labels, kind="stable")], np.cumsum(files.class_counts)[:-1]):
        chosen[of_class[: split_count(len(of_class), share)]] = True
    return chosen


def _by_group(files: LabelledFiles, groups: Int, share: float, seed: int) -> NDArray[np.bool_]:
    by_group = np.argsort(groups, kind="stable")
    numbers, first = np.unique(groups[by_group], return_index=True)
    members = np.split(by_group, first[1:])
    # The first picture identifies a group: its number depends on the other rows of the list.
    order = _shuffled(tuple(min(files.names[i] for i in indices) for indices in members), seed)
    counts = files.class_counts
    target = share * counts
    taken = np.zeros(len(counts), np.int64)
    in_test = np.zeros(len(numbers), dtype=bool)
    for group in order:
        label, pictures = np.unique(files.labels[members[group]], return_counts=True)
        after = taken[label] + pictures
        change = ((after - target[label]) ** 2 - (taken[label] - target[label]) ** 2) / target[label]
        if (after < counts[label]).all() and change.sum() < 0:
            taken[label] = after
            in_test[group] = True
    chosen = np.zeros(len(files), dtype=bool)
    for group in np.flatnonzero(in_test):
        chosen[members[group]] = True
    return chosen


def _shuffled(names: tuple[str, ...], seed: int) -> Int:
    """Return (N,) indices in an order that depends only on the names and the seed."""
    digests = [blake2b(f"{seed}\0{name}".encode(errors="surrogateescape"), digest_size=16).digest() for name in names]
    return np.array(sorted(range(len(names)), key=digests.__getitem__), dtype=np.int64)
