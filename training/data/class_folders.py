"""Data sets of class folders, in a folder or a zip: `SPLIT/CLASS/IMAGE`, or `CLASS/IMAGE` without splits.

Classes are sorted, numbers first and in their own order (`models/class_names.py`), and the files of a class in the
order of their names. The long-tail cut (`long_tail.py`) keeps the first files in this order, so the order must be the
same on every machine. A folder that wraps everything, as zip programs and downloads often add, is ignored.

Every picture is used, or counted in a note, or the data are refused: a folder beside the splits that is none of them
could be the test part under another name, and training would then split off a test part of its own.
"""

from collections import defaultdict
from decimal import Decimal
from pathlib import Path, PurePosixPath

import numpy as np

from models.class_names import class_order, read_name, spelling_key
from models.errors import ClassNameError, LabelledPathsError
from models.labelled_paths import (
    IMAGE_SUFFIXES,
    check_unlabelled_case,
    is_hidden,
    is_unlabelled,
    looks_like_split,
    names_split,
    note_unlabelled,
    shown,
    sort_files,
)
from models.sentences import first_few
from training.data.labelled_files import LabelledFiles
from training.data.linked_files import count_once
from training.data.options import path_name
from training.data.picture_store import PictureStore, open_store
from training.data.split_folders import FolderTree, check_class_names, check_top, find_root, find_splits
from training.errors import DataError

__all__ = ["class_folder_parts", "class_folder_split", "open_class_folders"]

_ClassFiles = dict[str, list[str]]  # class -> names of its pictures


def open_class_folders(path: Path, split: str) -> LabelledFiles:
    """Find the pictures of one split as `class_folder_split` does, without the notes."""
    return class_folder_split(path, split)[0]


def class_folder_split(path: Path, split: str) -> tuple[LabelledFiles, list[str]]:
    """Find the pictures of one split, `train`, `val` or `test`, ordered by class and name.

    Returns:
        The pictures, and notes on the files that are left out.

    Raises:
        DataError: there is no such split; see also `class_folder_parts`.

    """
    parts, notes = class_folder_parts(path)
    if split not in parts:
        raise DataError(f"{path}/{split}: found 0 class folders; a classifier needs two or more (SPLIT/CLASS/IMAGE)")
    return parts[split], notes


def class_folder_parts(path: Path, zip_encoding: str | None = None) -> tuple[dict[str, LabelledFiles], list[str]]:
    """Find the pictures of a folder or zip by split.

    Args:
        path: of the folder or zip.
        zip_encoding: see `open_store`.

    Returns:
        `train`, `val` or `test` ("" if there are no splits) -> pictures, and notes on the files that are left out.

    Raises:
        DataError: the path does not exist, has fewer than two classes, an empty class, a picture outside the class
            folders, or a folder that is neither a class nor a split.

    """
    store = open_store(path, zip_encoding)
    found = sort_files(map(PurePosixPath, store.files()), path_name(path))
    unlabelled = [picture for picture in found.pictures if any(map(is_unlabelled, picture.parts[:-1]))]
    pictures = sorted(set(found.pictures).difference(unlabelled))
    visible = [folder for folder in map(PurePosixPath, store.folders()) if not is_hidden(folder)]
    folders = [folder for folder in visible if not any(map(is_unlabelled, folder.parts))]
    notes = [*found.notes, *note_unlabelled(unlabelled), *store.notes()]
    tree = FolderTree.of(pictures, found.others, folders)
    try:
        root = find_root(tree)
        splits = find_splits(tree, root)
        notes += check_top(tree, root, splits) if root not in splits else []
        parts = {split: _classes_below(folder, tree) for folder, split in splits.items()}
        for split, classes in parts.items():
            notes += check_class_names(split, classes)
        notes += [note for folder in splits for note in _note_one_class(tree.children.get(folder, []))]
    except LabelledPathsError as error:
        raise DataError(f"{path}: {error}") from error
    if not pictures and notes:
        raise DataError(f"{path}: found 0 class folders with pictures, CLASS/IMAGE; {'; '.join(notes)}")
    labelled = {split: _label_files(path, split, classes, store) for split, classes in parts.items()}
    labelled, repeated = count_once(path, labelled, store)
    return labelled, [*notes, *repeated]


def _classes_below(base: PurePosixPath, tree: FolderTree) -> _ClassFiles:
    classes: _ClassFiles = defaultdict(list)
    for folder in tree.children.get(base, []):
        check_unlabelled_case(folder)
        classes.setdefault(_class_name(folder), [])
    depth = len(base.parts)
    for picture in tree.pictures:
        if picture.parts[:depth] != base.parts:
            continue
        if picture.parent == base:
            raise LabelledPathsError(
                f"{picture} is not in a class folder; the folder of a picture names its class, {base / 'CLASS/IMAGE'}"
            )
        if picture.parent.parent != base:
            raise LabelledPathsError(_too_deep(picture, base))
        classes[_class_name(picture.parent)].append(str(picture))
    return classes


def _class_name(folder: PurePosixPath) -> str:
    """Return the class that a folder's name stands for."""
    try:
        name = read_name(folder.name)
    except ClassNameError as error:
        raise LabelledPathsError(f"the folder {error}") from error
    if not name:
        raise LabelledPathsError(
            f"the folder {shown(folder)!r} names no class: blank and NaN stand for none; rename it"
        )
    return name


def _note_one_class(folders: list[PurePosixPath]) -> list[str]:
    """Return a note on class folders that are one class, such as `cat` and `cat `.

    Raises:
        LabelledPathsError: two folders are one number in two spellings, such as `1` and `01`.

    """
    by_class: dict[str, list[str]] = defaultdict(list)
    spelling: dict[Decimal | str, PurePosixPath] = {}
    for folder in folders:
        name = _class_name(folder)
        by_class[name].append(ascii(str(folder)))
        known = spelling.setdefault(spelling_key(name), folder)
        if _class_name(known) != name:
            raise LabelledPathsError(f"the folders {known} and {folder} are one number in two spellings; rename one")
    several = [" and ".join(sorted(same)) for same in by_class.values() if len(same) > 1]
    return [f"class folders that are one class: {first_few(sorted(several), separator='; ')}"] if several else []


def _too_deep(picture: PurePosixPath, base: PurePosixPath) -> str:
    """Return the sentence on a picture below a class folder."""
    inner = picture.relative_to(base)
    sentence = f"{picture} is deeper than CLASS/IMAGE; the folder of a picture names its class, {base / 'CLASS/IMAGE'}"
    outer, name = inner.parts[:2]
    if looks_like_split(name):
        return f"{sentence}. If {name!r} is a split, it goes above the classes: {name}/{outer}/{inner.name}"
    if names_split(outer):
        return f"{sentence}. If {outer!r} is a split, name it 'train', 'val' or 'test'"
    return sentence


def _label_files(path: Path, split: str, class_files: _ClassFiles, store: PictureStore) -> LabelledFiles:
    source = f"{path}/{split}" if split else str(path)
    classes = tuple(sorted(class_files, key=class_order))
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
