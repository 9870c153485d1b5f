"""How the parts of a data set are called, in folders and in columns alike."""

__all__ = ["SPLITS", "split_of"]

SPLITS = ("train", "val", "test")
_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"} | {
    "test": "test",
    "testing": "test",
}


def split_of(name: str) -> str:
    """Return `train`, `val` or `test`; "" for what is none of them.

    >>> [split_of(name) for name in ("train", "Validation", " TEST ", "id_val")]
    ['train', 'val', 'test', '']
    """
    return _NAMES.get(name.strip().lower(), "")
