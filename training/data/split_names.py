"""The names of splits, as folders and as values of a split column."""

__all__ = ["SPLITS", "split_of"]

SPLITS = ("train", "val", "test")
_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def split_of(name: str) -> str:
    """Return the split that a name stands for, `train`, `val` or `test`, or "" for any other name.

    >>> [split_of(name) for name in ("train", "Validation", " TEST ", "id_val")]
    ['train', 'val', 'test', '']
    """
    return _NAMES.get(name.strip().lower(), "")
