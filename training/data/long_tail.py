"""The rank-based long-tail cut: the same images for everyone, at any imbalance ratio.

Class i of C keeps its first n_i files by rank, n_i = int(n_max · (1/r)^(i/(C−1))), the exponential profile of Cui et
al. (CVPR 2019) that the paper's CIFAR tables use. Cuts are nested: ratio 100 is a subset of ratio 50.
"""

import numpy as np

from training.data.labelled_files import LabelledFiles
from training.errors import DataError

__all__ = ["cut_long_tail", "long_tail_counts"]


def long_tail_counts(largest: int, num_classes: int, imbalance_ratio: float) -> list[int]:
    """Return how many images each class keeps, most frequent class first.

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
    """Keep the first n_i files of each class; class order decides who is head and who is tail.

    Raises:
        DataError: the ratio is below 1, leaves a class empty, or asks for more images than a class has.

    """
    there = files.class_counts
    counts = long_tail_counts(int(there[0]), len(files.classes), imbalance_ratio)
    for name, count, most in zip(files.classes, counts, there, strict=True):
        if count == 0:
            raise DataError(
                f"{files.source}: ratio {imbalance_ratio:g} leaves class {name!r} without images; take a smaller one"
            )
        if count > most:
            raise DataError(
                f"{files.source}: ratio {imbalance_ratio:g} needs {count} images of class {name!r}, "
                f"there are {most}; take a larger ratio, or --imbalance-ratio none"
            )
    by_class = [np.flatnonzero(files.labels == label)[:count] for label, count in enumerate(counts)]
    return files.part(np.concatenate(by_class))
