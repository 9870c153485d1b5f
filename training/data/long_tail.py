"""The rank-based long-tail cut: the same pictures on every machine, at any imbalance ratio.

Class i of C keeps its first n_i files by rank, n_i = int(n_max · (1/r)^(i/(C−1))). This is the exponential profile of
Cui et al. (CVPR 2019), which the paper's CIFAR tables use. Cuts are nested: ratio 100 is a subset of ratio 50.
"""

import numpy as np

from training.data.labelled_files import LabelledFiles
from training.errors import DataError

__all__ = ["cut_long_tail", "long_tail_counts"]


def long_tail_counts(largest: int, num_classes: int, imbalance_ratio: float) -> list[int]:
    """Return how many pictures each class keeps, most frequent class first.

    >>> long_tail_counts(5000, 10, 100)
    [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    """
    if not imbalance_ratio >= 1:
        raise DataError(
            f"imbalance ratio {imbalance_ratio:g} is below 1; 1 keeps the classes equal, 100 is the usual long tail"
        )
    smallest_share = 1.0 / imbalance_ratio
    return [int(largest * smallest_share ** (i / (num_classes - 1.0))) for i in range(num_classes)]


def cut_long_tail(files: LabelledFiles, imbalance_ratio: float) -> LabelledFiles:
    """Keep the first n_i files of each class; the first classes become the head, the last ones the tail.

    Raises:
        DataError: the ratio is below 1, leaves a class empty, or asks for more pictures than a class has.

    """
    available = files.class_counts
    counts = long_tail_counts(int(available[0]), len(files.classes), imbalance_ratio)
    for name, count, has in zip(files.classes, counts, available, strict=True):
        if count == 0:
            raise DataError(
                f"{files.source}: ratio {imbalance_ratio:g} leaves class {name!r} without pictures; use a smaller ratio"
            )
        if count > has:
            raise DataError(
                f"{files.source}: ratio {imbalance_ratio:g} needs {count} pictures of class {name!r}, which has {has}; "
                "use a larger ratio, or --imbalance-ratio none"
            )
    by_class = [np.flatnonzero(files.labels == label)[:count] for label, count in enumerate(counts)]
    return files.part(np.concatenate(by_class))
