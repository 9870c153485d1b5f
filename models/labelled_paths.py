"""Labelled pictures by where they lie: the folder a picture lies in is its class.

The same rule holds for archives sent to the service and for folders and archives on the command line.

If there is a `test` folder, only the pictures below it count: alpha must not be chosen on pictures that the network was
trained on.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath

__all__ = ["IMAGE_SUFFIXES", "TEST_FOLDER", "class_folder", "is_picture", "to_choose_on"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
TEST_FOLDER = "test"
_NO_PICTURES = ("__MACOSX",)  # what the Finder adds to a zip


def is_picture(path: PurePosixPath) -> bool:
    """Return whether a file counts as a picture; hidden files do not.

    >>> [is_picture(PurePosixPath(name)) for name in ("cat/1.JPG", "cat/.1.jpg", "__MACOSX/cat/1.jpg", "cat/notes.txt")]
    [True, False, False, False]
    """
    hidden = any(part.startswith(".") or part in _NO_PICTURES for part in path.parts)
    return not hidden and path.suffix.lower() in IMAGE_SUFFIXES


def to_choose_on(pictures: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """Return the pictures that count: those of the test split, or all if there is none.

    >>> [str(path) for path in to_choose_on(map(PurePosixPath, ("train/cat/1.png", "test/cat/2.png")))]
    ['test/cat/2.png']
    """
    found = list(pictures)
    return [path for path in found if TEST_FOLDER in path.parts[:-2]] or found


def class_folder(path: PurePosixPath) -> str:
    """Return the name of the folder that a picture lies in, "" if there is none.

    >>> class_folder(PurePosixPath("set/test/cat/1.png")), class_folder(PurePosixPath("1.png"))
    ('cat', '')
    """
    return path.parent.name
