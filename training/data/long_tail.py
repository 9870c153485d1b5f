"""The rank-based long-tail cut: the same images for everyone, at any imbalance ratio.

Class i of C keeps its first n_i files by rank, n_i = int(n_max · (1/r)^(i/(C−1))), the exponential profile of Cui et
al. (CVPR 2019) that the paper's CIFAR tables use. Cuts are nested: ratio 100 is a subset of ratio 50.
"""

from dataclasses import replace

from training.data.class_folders import ClassFolders
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


def cut_long_tail(folders: ClassFolders, imbalance_ratio: float) -> ClassFolders:
    """Keep the first n_i files of each class; class order decides who is head and who is tail.

    Raises:
        DataError: the ratio is below 1, leaves a class empty, or asks for more images than a class has.
    """
    counts = long_tail_counts(len(folders.files[0]), len(folders.classes), imbalance_ratio)
    for name, files, count in zip(folders.classes, folders.files, counts, strict=True):
        if count == 0:
            raise DataError(
                f"{folders.source}: ratio {imbalance_ratio:g} leaves class {name!r} without images; take a smaller one"
            )
        if count > len(files):
            raise DataError(
                f"{folders.source}: ratio {imbalance_ratio:g} needs {count} images of class {name!r}, "
                f"there are {len(files)}; "
                "take a larger ratio"
            )
    kept = tuple(files[:count] for files, count in zip(folders.files, counts, strict=True))
    return replace(folders, files=kept)
