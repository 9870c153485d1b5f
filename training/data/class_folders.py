"""A data set as class folders, in a folder or a zip: `SPLIT/CLASS/IMAGE`, or `CLASS/IMAGE` without a split.

Classes are in alphabetical order, files within a class in the order of their names. That order is the rank by which
the long tail is cut (`training/data/long_tail.py`), so it has to be the same for everyone. The one folder that
a zip program or a download wraps everything in does not count.
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

MAX_KINDS = 5
_Tree = dict[str, list[str]]  # class -> names of its pictures


def open_class_folders(path: Path, split: str) -> LabelledFiles:
    """Find the pictures of one split, `train`, `val` or `test`: by class, then by name.

    Raises:
        DataError: as `class_folder_parts`, or there is no such split.

    """
    parts, _ = class_folder_parts(path)
    if split not in parts:
        raise DataError(f"{path}/{split}: found 0 class folders; a classifier needs two or more (SPLIT/CLASS/IMAGE)")
    return parts[split]


def class_folder_parts(path: Path) -> tuple[dict[str, LabelledFiles], list[str]]:
    """Find the pictures of a folder or zip by split: `train`, `val`, `test`, or "" for all where there is none.

    Returns:
        The splits, and what is to be said of them: which files beside the pictures are passed over.

    Raises:
        DataError: nothing there, fewer than two classes, a class without images, or a picture in no class folder.

    """
    store = open_store(path)
    files = [name for name in map(PurePosixPath, store.files()) if not _hidden(name)]
    pictures = list(filter(is_picture, files))
    folders = [name for name in map(PurePosixPath, store.folders()) if not _hidden(name)]
    root = _root(pictures, folders)
    parts: dict[str, _Tree] = {}
    splits = _split_folders(root, folders)
    for folder, split in splits.items():
        if split in parts:
            raise DataError(f"{path}: two folders hold the {split} split; keep one of {', '.join(map(str, splits))}")
        parts[split] = _classes_below(path, folder, pictures, folders)
    in_classes = [file for file in files if file.parent.parent in splits and file.parent not in splits]
    others = [file for file in in_classes if not is_picture(file)]
    return {split: _arrange(path, split, tree, store) for split, tree in parts.items()}, _passed_over(path, others)


def _root(pictures: list[PurePosixPath], folders: list[PurePosixPath]) -> PurePosixPath:
    """Return the folder in which the splits or classes lie: below folders that hold one folder and no picture."""
    root = PurePosixPath()
    while True:
        inside = [folder for folder in folders if folder.parent == root]
        if len(inside) != 1 or split_of(inside[0].name) or any(picture.parent == root for picture in pictures):
            return root
        if not any(folder.parent == inside[0] for folder in folders):
            return root  # one class folder is a mistake to be named, not a wrapper
        root = inside[0]


def _split_folders(root: PurePosixPath, folders: list[PurePosixPath]) -> dict[PurePosixPath, str]:
    """Return folder -> split; {root: ""} where no folder of a split's name holds folders of its own."""
    with_folders = {folder.parent for folder in folders}
    named = [folder for folder in folders if folder.parent == root and split_of(folder.name)]
    splits = {folder: split_of(folder.name) for folder in sorted(named) if folder in with_folders}
    return splits or {root: ""}


def _classes_below(
    path: Path, base: PurePosixPath, pictures: list[PurePosixPath], folders: list[PurePosixPath]
) -> _Tree:
    tree: _Tree = defaultdict(list)
    for folder in folders:
        if folder.parent == base:
            tree[folder.name] = []
    depth = len(base.parts)
    for picture in pictures:
        if picture.parts[:depth] != base.parts:
            continue
        if picture.parent.parent != base or picture.parent == base:
            what = "lies in no class folder" if picture.parent == base else "lies deeper than CLASS/IMAGE"
            raise DataError(f"{path}: {picture} {what}; the folder a picture lies in is its class, {base}/CLASS/IMAGE")
        tree[picture.parent.name].append(str(picture))
    return tree


def _arrange(path: Path, split: str, tree: _Tree, store: PictureStore) -> LabelledFiles:
    source = f"{path}/{split}" if split else str(path)
    classes = tuple(sorted(tree))
    if len(classes) < (2 if split == "train" else 1):
        raise DataError(
            f"{source}: found {len(classes)} class folders; a classifier needs two or more "
            "(CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE)"
        )
    for name in classes:
        if not tree[name]:
            raise DataError(
                f"{source}/{name}: no images in this class folder; remove it or add files "
                f"({', '.join(sorted(IMAGE_SUFFIXES))})"
            )
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(tree[name]) for name in classes])
    names = tuple(file for name in classes for file in sorted(tree[name]))
    return LabelledFiles(source, classes, names, labels, store.read, where=store.where, split=split)


def _passed_over(path: Path, others: list[PurePosixPath]) -> list[str]:
    """Count by kind the files in class folders that are not looked at: a BMP is no picture here."""
    if not others:
        return []
    kinds = Counter(other.suffix.lower() or "without suffix" for other in others).most_common(MAX_KINDS)
    shown = [f"{count:,} {kind}" for kind, count in kinds]
    if more := len(others) - sum(count for _, count in kinds):
        shown.append(f"{more:,} others")
    return [f"passed over in the class folders of {path_name(path)}, not JPEG, PNG or WebP by name: {', '.join(shown)}"]


def _hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
