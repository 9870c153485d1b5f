"""A data set as class folders: `SPLIT/CLASS/FILE`, in a folder or in a zip that is never unpacked to disk.

Classes are in alphabetical order, files within a class in the order of their names. That order is the rank by which
the long tail is cut (`training/data/long_tail.py`), so it has to be the same for everyone.
"""

import zipfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.labelled_paths import IMAGE_SUFFIXES
from training.errors import DataError

__all__ = ["ClassFolders", "open_class_folders"]


@dataclass(frozen=True)
class ClassFolders:
    """One split of a data set, not yet decoded.

    Attributes:
        source: where it came from, as error messages name it: `data.zip:train` or `data/train`.
        classes: C class names, alphabetical.
        files: per class the file names (relative to the data set's root), by rank.
        read: file name -> its bytes. Safe to call from several threads.
    """

    source: str
    classes: tuple[str, ...]
    files: tuple[tuple[str, ...], ...]
    read: Callable[[str], bytes]


def open_class_folders(path: Path, split: str) -> ClassFolders:
    """Find the classes and files of one split.

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


def _arrange(source: str, class_names: set[str], names: list[str], read: Callable[[str], bytes]) -> ClassFolders:
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
    return ClassFolders(source, classes, tuple(tuple(sorted(by_class[name])) for name in classes), read)
