"""Data sets of class folders, in a folder or a zip: `SPLIT/CLASS/IMAGE`, or `CLASS/IMAGE` without splits.

Classes are in alphabetical order, and the files of a class in the order of their names. The long-tail cut
(`long_tail.py`) keeps the first files in this order, so the order must be the same on every machine. A folder that
wraps everything, as zip programs and downloads often add, is ignored.
"""

from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath

import numpy as np

from models.labelled_paths import IMAGE_SUFFIXES, is_picture
from training.data.labelled_files import LabelledFiles
from training.data.options import path_name
from training.data.picture_store import PictureStore, open_store
from training.data.split_names import split_of
from training.errors import DataError

__all__ = ["class_folder_parts", "open_class_folders"]

MAX_KINDS_SHOWN = 5
_ClassFiles = dict[str, list[str]]  # class -> names of its pictures


def open_class_folders(path: Path, split: str) -> LabelledFiles:
    """Find the pictures of one split, `train`, `val` or `test`, ordered by class and name.

    Raises:
        DataError: there is no such split; see also `class_folder_parts`.

    """
    parts, _ = class_folder_parts(path)
    if split not in parts:
        raise DataError(f"{path}/{split}: found 0 class folders; a classifier needs two or more (SPLIT/CLASS/IMAGE)")
    return parts[split]


def class_folder_parts(path: Path) -> tuple[dict[str, LabelledFiles], list[str]]:
    """Find the pictures of a folder or zip by split.

    Returns:
        `train`, `val` or `test` ("" if there are no splits) -> pictures, and notes on the files that are ignored.

    Raises:
        DataError: the path does not exist, has fewer than two classes, an empty class, or a picture outside the class
            folders.

    """
    store = open_store(path)
    files = [name for name in map(PurePosixPath, store.files()) if not _is_hidden(name)]
    pictures = list(filter(is_picture, files))
    folders = [name for name in map(PurePosixPath, store.folders()) if not _is_hidden(name)]
    root = _find_root(pictures, folders)
    parts: dict[str, _ClassFiles] = {}
    splits = _split_folders(root, folders)
    for folder, split in splits.items():
        if split in parts:
            raise DataError(f"{path}: two folders hold the {split} split; keep one of {', '.join(map(str, splits))}")
        parts[split] = _classes_below(path, folder, pictures, folders)
    in_classes = [file for file in files if file.parent.parent in splits and file.parent not in splits]
    others = [file for file in in_classes if not is_picture(file)]
    labelled = {split: _label_files(path, split, classes, store) for split, classes in parts.items()}
    return labelled, _note_ignored(path, others)


def _find_root(pictures: list[PurePosixPath], folders: list[PurePosixPath]) -> PurePosixPath:
    """Return the folder of the splits or classes, below any folders that only wrap another one."""
    root = PurePosixPath()
    while True:
        inside = [folder for folder in folders if folder.parent == root]
        if len(inside) != 1 or split_of(inside[0].name) or any(picture.parent == root for picture in pictures):
            return root
        if not any(folder.parent == inside[0] for folder in folders):
            return root  # a single class folder: a mistake to report, rather than a wrapper
        root = inside[0]


def _split_folders(root: PurePosixPath, folders: list[PurePosixPath]) -> dict[PurePosixPath, str]:
    """Return folder -> split, or {root: ""} if no folder that is named after a split has subfolders."""
    with_folders = {folder.parent for folder in folders}
    named = [folder for folder in folders if folder.parent == root and split_of(folder.name)]
    splits = {folder: split_of(folder.name) for folder in sorted(named) if folder in with_folders}
    return splits or {root: ""}


def _classes_below(
    path: Path, base: PurePosixPath, pictures: list[PurePosixPath], folders: list[PurePosixPath]
) -> _ClassFiles:
    classes: _ClassFiles = defaultdict(list)
    for folder in folders:
        if folder.parent == base:
            classes[folder.name] = []
    depth = len(base.parts)
    for picture in pictures:
        if picture.parts[:depth] != base.parts:
            continue
        if picture.parent.parent != base or picture.parent == base:
            what = "is not in a class folder" if picture.parent == base else "is deeper than CLASS/IMAGE"
            raise DataError(f"{path}: {picture} {what}; the folder of a picture names its class, {base}/CLASS/IMAGE")
        classes[picture.parent.name].append(str(picture))
    return classes


def _label_files(path: Path, split: str, class_files: _ClassFiles, store: PictureStore) -> LabelledFiles:
    source = f"{path}/{split}" if split else str(path)
    classes = tuple(sorted(class_files))
    if len(classes) < (2 if split == "train" else 1):
        raise DataError(
            f"{source}: found {len(classes)} class folders; a classifier needs two or more "
            "(CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE)"
        )
    for name in classes:
        if not class_files[name]:
            raise DataError(
                f"{source}/{name}: no pictures in this class folder; add some ({', '.join(sorted(IMAGE_SUFFIXES))}) or "
                "remove the folder"
            )
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(class_files[name]) for name in classes])
    names = tuple(file for name in classes for file in sorted(class_files[name]))
    return LabelledFiles(source, classes, names, labels, store.read, location=store.location, split=split)


def _note_ignored(path: Path, others: list[PurePosixPath]) -> list[str]:
    """Count the ignored files in class folders by suffix, such as BMP files."""
    if not others:
        return []
    kinds = Counter(other.suffix.lower() or "without suffix" for other in others).most_common(MAX_KINDS_SHOWN)
    shown = [f"{count:,} {kind}" for kind, count in kinds]
    if more := len(others) - sum(count for _, count in kinds):
        shown.append(f"{more:,} others")
    return [f"ignored in the class folders of {path_name(path)}, not JPEG, PNG or WebP by suffix: {', '.join(shown)}"]


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
