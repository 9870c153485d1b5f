"""Labelled pictures of one's own, to choose alpha on: whatever folder a picture lies in is its class.

Unlike a data set to train from (`class_folders.py`), a handful of the classes is enough. The service reads uploaded
zips by the same rule (`models/labelled_paths.py`).
"""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from models.labelled_paths import IMAGE_SUFFIXES, TEST_FOLDER, class_folder, is_picture, to_choose_on
from training.errors import DataError

__all__ = ["LabelledFiles", "find_labelled_files"]


@dataclass(frozen=True)
class LabelledFiles:
    """Pictures with their classes, not yet read.

    Attributes:
        source: the name of the folder or zip, for people: `photos.zip` or `cifar10-lt.zip, test split`.
        names: N paths in there, by class, then by name.
        labels: (N,) class indices.
        read: name -> bytes. Safe to call from several threads.
    """

    source: str
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    read: Callable[[str], bytes]


def find_labelled_files(path: Path, class_names: tuple[str, ...]) -> LabelledFiles:
    """Find the pictures of CLASS/IMAGE or test/CLASS/IMAGE, or deeper, in a folder or a zip.

    Raises:
        DataError: nothing there, no pictures, or a folder of pictures that is no class.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    names, read = _in_folder(path) if path.is_dir() else _in_zip(path)
    pictures = [PurePosixPath(name) for name in names if is_picture(PurePosixPath(name))]
    found = to_choose_on(pictures)
    if not found:
        raise DataError(f"{path}: no pictures here; put them into class folders, CLASS/IMAGE, {sorted(IMAGE_SUFFIXES)}")
    if loose := [name for name in found if not class_folder(name)]:
        raise DataError(f"{path}: {loose[0]} lies in no class folder; the folder a picture lies in is its class")
    if strangers := sorted({class_folder(name) for name in found} - set(class_names)):
        raise DataError(
            f"{path}: the model does not know {len(strangers)} of these classes: {', '.join(strangers[:5])}; "
            f"it knows {', '.join(class_names[:5])}{', ...' if len(class_names) > 5 else ''}"
        )
    index = {name: position for position, name in enumerate(class_names)}
    ordered = sorted(found, key=lambda name: (index[class_folder(name)], name))
    source = path.resolve().name + (", test split" if TEST_FOLDER in found[0].parts[:-2] else "")
    labels = np.array([index[class_folder(name)] for name in ordered], np.int64)
    return LabelledFiles(source, tuple(map(str, ordered)), labels, read)


def _in_folder(root: Path) -> tuple[list[str], Callable[[str], bytes]]:
    files = [file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()]
    return files, lambda name: (root / name).read_bytes()


def _in_zip(path: Path) -> tuple[list[str], Callable[[str], bytes]]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: neither a folder nor a readable zip ({error})") from error
    entry_of = {str(PurePosixPath(entry.replace("\\", "/"))): entry for entry in archive.namelist()}
    return list(entry_of), lambda name: archive.read(entry_of[name])
