"""The formats of data sets: class folders, or a list whose suffix names its format."""

import zipfile
from pathlib import Path

from training.data.class_folders import class_folder_parts
from training.data.labelled_files import LabelledFiles
from training.data.lists.coco_json import read_coco_json
from training.data.lists.csv_table import read_csv_table
from training.data.lists.picture_list import parts_of_list
from training.data.lists.text_list import read_text_list
from training.data.options import COLUMN_OPTIONS, DataOptions
from training.errors import DataError

__all__ = ["is_list", "read_parts"]

LIST_SUFFIXES = (".txt", ".lst", ".list", ".csv", ".tsv", ".json")


def is_list(path: Path) -> bool:
    """Return whether a path is a list of pictures by its suffix, rather than class folders."""
    return path.suffix.lower() in LIST_SUFFIXES and not path.is_dir()


def read_parts(path: Path, options: DataOptions) -> tuple[dict[str, LabelledFiles], list[str]]:
    """Read a data set in any format.

    Returns:
        split name ("" if the data set has no splits) -> pictures, and notes for the user.

    Raises:
        DataError: the data set is broken, or an option does not apply to its format.

    """
    options.refuse_zip_encoding()
    if not is_list(path):
        if path.is_file() and path.suffix.lower() != ".zip" and not zipfile.is_zipfile(path):
            raise DataError(
                f"{path}: neither a folder, a zip nor a list of pictures, whose name ends in {', '.join(LIST_SUFFIXES)}"
            )
        options.refuse_for_folders(path)
        return class_folder_parts(path, options.zip_encoding)
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        listed = read_csv_table(path, options.columns, options.class_names)
    elif suffix == ".json":
        options.refuse(path, "a COCO file", "label_column", "class_names")
        listed = read_coco_json(path, options.columns)
    else:
        options.refuse(path, "a text list", *COLUMN_OPTIONS)
        listed = read_text_list(path, options.class_names)
    return parts_of_list(listed, options.images, options.zip_encoding)
