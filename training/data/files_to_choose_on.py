"""Pictures to choose alpha on, in a folder or a zip.

Unlike training data (`class_folders.py`), they may cover only a few of the classes, and lie at any depth. The service
reads uploaded zips by the same rule, `models/choosing_paths.py`.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from models.choosing_paths import pictures_to_choose_on
from models.class_names import ClassIndices
from models.errors import LabelledPathsError
from models.labelled_paths import class_folder
from training.data.labelled_files import LabelledFiles
from training.data.linked_files import count_once
from training.data.options import path_name
from training.data.picture_store import open_store
from training.errors import DataError

__all__ = ["find_labelled_files"]


def find_labelled_files(
    path: Path, class_names: tuple[str, ...], zip_encoding: str | None = None
) -> tuple[LabelledFiles, list[str]]:
    """Find the pictures to choose alpha on in a folder or a zip: CLASS/IMAGE or SPLIT/CLASS/IMAGE, at any depth.

    Args:
        path: of the folder or zip.
        class_names: of the model.
        zip_encoding: see `open_store`.

    Returns:
        The pictures of the test split, or without it the val split, or without splits all; and notes on the others.

    Raises:
        DataError: the path does not exist, or see `models.choosing_paths.pictures_to_choose_on`.

    """
    store = open_store(path, zip_encoding)
    name = path_name(path)
    try:
        found = pictures_to_choose_on(map(PurePosixPath, store.files()), class_names, name)
    except LabelledPathsError as error:
        raise DataError(f"{path}: {error}") from error
    index = ClassIndices(class_names)
    ordered = sorted(found.pictures, key=lambda name: (index[class_folder(name)], name))
    source = name + (f", {found.split} split" if found.split else "")
    labels = np.array([index[class_folder(name)] for name in ordered], np.int64)
    files = LabelledFiles(
        source, class_names, tuple(map(str, ordered)), labels, store.read, location=store.location, split=found.split
    )
    parts, repeated = count_once(path, {found.split: files}, store)
    return parts[found.split], [*found.notes, *repeated, *store.notes()]
