"""A data set as class folders: `SPLIT/CLASS/FILE`, in a folder or in a zip that is never unpacked to disk.

Classes are in alphabetical order, files within a class in the order of their names. That order is the rank by which
the long tail is cut (`training/data/long_tail.py`), so it has to be the same for everyone.
"""

import zipfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.labelled_paths import IMAGE_SUFFIXES
from training.data.labelled_files import LabelledFiles
from training.errors import DataError

__all__ = ["open_class_folders"]


def open_class_folders(path: Path, split: str) -> LabelledFiles:
    """Find the pictures of one split: by class, then by name.

    Args:
        path: a folder or a `.zip` that holds `SPLIT/CLASS/FILE`.
        split: `train` or `test`.
    Raises:
        DataError: nothing there, no such split, fewer than two classes, or a class without images.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_dir():
        return _arrange(f"{path}/{split}", *_in_folder(path, split))
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: neither a folder nor a readable zip ({error})") from error
    return _arrange(f"{path}:{split}", *_in_zip(archive, split))


def _in_folder(root: Path, split: str) -> tuple[set[str], list[str], Callable[[str], bytes]]:
    base = root / split
    classes = {entry.name for entry in base.iterdir() if entry.is_dir()} if base.is_dir() else set()
    files = [entry.relative_to(root).as_posix() for entry in base.glob("*/*") if entry.is_file()]
    return classes, files, lambda name: (root / name).read_bytes()


def _in_zip(archive: zipfile.ZipFile, split: str) -> tuple[set[str], list[str], Callable[[str], bytes]]:
    entries = [tuple(name.split("/")) for name in archive.namelist() if name.startswith(f"{split}/")]
    classes = {entry[1] for entry in entries if len(entry) == 3}
    files = ["/".join(entry) for entry in entries if len(entry) == 3 and entry[2]]
    return classes, files, archive.read


def _arrange(source: str, class_names: set[str], names: list[str], read: Callable[[str], bytes]) -> LabelledFiles:
    classes = tuple(sorted(name for name in class_names if not name.startswith(".")))
    if len(classes) < 2:
        raise DataError(
            f"{source}: found {len(classes)} class folders; a classifier needs two or more (SPLIT/CLASS/IMAGE)"
        )
    by_class: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if Path(name).suffix.lower() in IMAGE_SUFFIXES and not Path(name).name.startswith("."):
            by_class[name.split("/")[1]].append(name)
    for name in classes:
        if not by_class[name]:
            raise DataError(
                f"{source}/{name}: no images in this class folder; remove it or add {sorted(IMAGE_SUFFIXES)} files"
            )
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(by_class[name]) for name in classes])
    return LabelledFiles(
        source, classes, tuple(file for name in classes for file in sorted(by_class[name])), labels, read
    )
