"""Which reader opens which data set: class folders, or a list by its suffix."""

from pathlib import Path

from training.data.class_folders import class_folder_parts
from training.data.labelled_files import LabelledFiles
from training.data.lists.coco_json import read_coco_json
from training.data.lists.csv_table import read_csv_table
from training.data.lists.picture_list import parts_of_list
from training.data.lists.text_list import read_text_list
from training.data.options import DataOptions

__all__ = ["is_list", "read_parts"]

LIST_SUFFIXES = (".txt", ".lst", ".list", ".csv", ".tsv", ".json")
_COLUMNS = ("path_column", "label_column", "split_column", "group_column")


def is_list(path: Path) -> bool:
    """Say whether this is a list of pictures, not class folders: by its name."""
    return path.suffix.lower() in LIST_SUFFIXES and not path.is_dir()


def read_parts(path: Path, options: DataOptions) -> tuple[dict[str, LabelledFiles], list[str]]:
    """Return the parts of a file or folder by the name of their split ("" for all), and what is to be said of them."""
    suffix = path.suffix.lower()
    columns = options.columns
    if not is_list(path):
        options.refuse_for_folders(path)
        return class_folder_parts(path)
    if suffix in (".csv", ".tsv"):
        listing = read_csv_table(path, columns, options.class_names)
    elif suffix == ".json":
        options.refuse(path, "a COCO file has", "label_column", "class_names")
        listing = read_coco_json(path, columns)
    else:
        options.refuse(path, "a text list has", *_COLUMNS)
        listing = read_text_list(path, options.class_names)
    return parts_of_list(listing, options.images)
