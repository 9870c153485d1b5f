"""The names of splits, as folders and as values of a split column."""

from models.labelled_paths import split_of_folder

__all__ = ["SPLITS", "split_of"]

SPLITS = ("train", "val", "test")


def split_of(name: str) -> str:
    """Return the split that a name stands for, `train`, `val` or `test`, or "" for any other name.

    >>> [split_of(name) for name in ("train", "Validation", " TEST ", "id_val")]
    ['train', 'val', 'test', '']
    """
    return split_of_folder(name.strip().lower())
