"""The command line options of a data set, as one frozen value that a run stores to open the same data again."""

import argparse
import shlex
import zipfile
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from models.class_names import ClassIndices
from training.data.lists.csv_table import Columns
from training.data.option_values import read_exempt_class, read_zip_encoding
from training.errors import DataError

__all__ = [
    "COLUMN_OPTIONS",
    "MAX_UNREADABLE_SHARE",
    "DataOptions",
    "add_data_arguments",
    "changed_options",
    "data_options",
    "given_options",
    "path_name",
]

MAX_UNREADABLE_SHARE = 0.1  # the default of `tune`; beyond it, something is wrong with the whole data set
COLUMN_OPTIONS = ("path_column", "label_column", "split_column", "group_column")
_PATHS = ("data", "test", "images", "class_names")


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The options of a data set.

    Attributes:
        data: class folders (a folder or a zip), or a list: `.txt`, `.csv`, `.tsv` or `.json`.
        test: the test part in any of these formats; by default a part of `data`, or split off from it.
        images: folder or zip that the paths of a list are relative to; by default the folder of the list.
        path_column: CSV column, or field of a COCO image, with the paths; the usual names are found by default.
        label_column: CSV column with the labels; the usual names are found by default, then one-hot columns.
        split_column: CSV column, or field of a COCO image, with the splits.
        group_column: CSV column, or field of a COCO image, with the groups that a test part never shares.
        class_names: a file with one class name a line, for lists whose labels are class numbers.
        zip_encoding: of the file names in a zip that are not UTF-8.
        exempt_class: the class that alpha must not change, such as "empty".
        max_unreadable: share of a part's pictures that may be missing or damaged, from 0 to below 1.
        test_share: share of each class that is split off if there is no test part, between 0 and 1.
        seed: of that split.

    """

    data: Path
    test: Path | None = None
    images: Path | None = None
    path_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    group_column: str | None = None
    class_names: Path | None = None
    zip_encoding: str | None = None
    exempt_class: str | None = None
    max_unreadable: float = 0.0
    test_share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        """Read the exempt class as a name, and check the encoding and the shares."""
        if self.zip_encoding is not None:
            object.__setattr__(self, "zip_encoding", read_zip_encoding(self.zip_encoding))
        if self.exempt_class is not None:
            object.__setattr__(self, "exempt_class", read_exempt_class(self.exempt_class))
        if not 0.0 <= self.max_unreadable < 1.0:
            raise DataError(
                f"--max-unreadable {self.max_unreadable:g} must be from 0 to below 1; 0.01 allows 1 bad picture in 100"
            )
        if not 0.0 < self.test_share < 1.0:
            raise DataError(f"--test-share {self.test_share:g} must be between 0 and 1; 0.2 splits off a fifth")

    @classmethod
    def of(cls, data: "Path | DataOptions") -> "DataOptions":
        """Return options as they are, or those of a path with all defaults."""
        return data if isinstance(data, DataOptions) else cls(data=data)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint; paths are absolute, so that they work from any folder."""
        return {
            name: str(value.absolute()) if isinstance(value, Path) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the options that `to_dict` wrote."""
        unknown = values.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise DataError(f"the run has data options that this version does not know: {sorted(unknown)}")
        options: dict[str, Any] = {
            name: Path(value) if name in _PATHS and value is not None else value for name, value in values.items()
        }
        return cls(**options)

    def differences(self, other: "DataOptions") -> list[str]:
        """Return the arguments that differ from those of `other`; two paths of one file are equal."""
        found: list[str] = []
        for field in fields(self):
            mine, others = (getattr(options, field.name) for options in (self, other))
            if field.name == "zip_encoding" and mine is None:
                continue  # an earlier version read such names as cp437; that the pictures are the same is checked
            if mine == others or (isinstance(mine, Path) and others is not None and mine.resolve() == others.resolve()):
                continue
            value = mine.absolute() if isinstance(mine, Path) else mine
            found.append(f"{_flag(field.name)} {value}" if value is not None else f"no {_flag(field.name)}")
        return found

    def exempt_index(self, class_names: tuple[str, ...]) -> int | None:
        """Return the class number of the exempt class, or None if there is none."""
        return None if self.exempt_class is None else ClassIndices(class_names)[self.exempt_class]

    @property
    def columns(self) -> Columns:
        """The columns of a list."""
        return Columns(self.path_column, self.label_column, self.split_column, self.group_column)

    def refuse(self, path: Path, what: str, *names: str) -> None:
        """Refuse options that do not apply, instead of ignoring them.

        Args:
            path: of the data.
            what: the format of the data, such as "a text list".
            names: of the options, as fields of this class.

        Raises:
            DataError: one of them is given.

        """
        for name in names:
            if getattr(self, name) is not None:
                raise DataError(f"{path}: {_flag(name)} does not apply to {what}; drop it")

    def refuse_for_folders(self, path: Path) -> None:
        """Refuse the options that only apply to lists; see `refuse`."""
        self.refuse(path, "class folders", *COLUMN_OPTIONS, "images", "class_names")

    def refuse_zip_encoding(self) -> None:
        """Refuse an encoding of the names in a zip if there is no zip.

        Raises:
            DataError: it is given, and neither the data nor the test part nor the images are a zip.

        """
        files = [path for path in (self.data, self.test, self.images) if path is not None]
        if self.zip_encoding is not None and not any(zipfile.is_zipfile(path) for path in files if path.is_file()):
            raise DataError(f"--zip-encoding {self.zip_encoding}: the data are not a zip; leave the option out")

    @property
    def split_settings(self) -> dict[str, Any]:
        """The options that decide which pictures are split off, for provenance; `data` may move later."""
        return {name: getattr(self, name) for name in ("test_share", "seed", "group_column")}

    @property
    def arguments(self) -> str:
        """The command line arguments of these options for a model card, with file names instead of paths."""
        words: list[str] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "data" and value == self.test:
                continue
            if field.name == "data" or value != field.default:
                words += [_flag(field.name), path_name(value) if isinstance(value, Path) else str(value)]
        return shlex.join(words)


def path_name(path: Path) -> str:
    """Return the name of a file or folder, even if the path is `.` or `..`.

    >>> path_name(Path("/data/photos/.")), path_name(Path("/data/none/.."))
    ('photos', 'data')
    """
    whole = path.absolute()
    return path.resolve().name if whole.name == ".." else whole.name


def _flag(field: str) -> str:
    return "--split-seed" if field == "seed" else f"--{field.replace('_', '-')}"


def add_data_arguments(
    parser: argparse.ArgumentParser,
    *,
    data_required: bool = True,
    bad: str = "0",
    split: tuple[str, str] = ("0.2", "0"),
) -> None:
    """Add `--data` and its companions to a parser; `data_options` reads them.

    Args:
        parser: of the command.
        data_required: whether the command needs `--data`.
        bad: the default of `--max-unreadable` for the help text.
        split: the defaults of `--test-share` and `--split-seed` for the help text.

    """
    group = parser.add_argument_group("data", "formats and examples: docs/reference/data-formats.md")
    add = group.add_argument
    add(
        "--data",
        type=Path,
        required=data_required,
        help="class folders (a folder or a zip), or a list of pictures: .txt, .csv, .tsv or .json",
    )
    add("--test", type=Path, help="the test pictures (default: the test part of --data, or a part split off from it)")
    add(
        "--images",
        type=Path,
        help="folder or zip that the paths of a list are relative to (default: the folder of the list)",
    )
    _add_columns(group)
    add(
        "--class-names",
        type=Path,
        metavar="FILE",
        help="a file with one class name a line, for labels that are numbers",
    )
    add(
        "--zip-encoding",
        metavar="NAME",
        help="encoding of file names in a zip that are not UTF-8, such as cp850 (default: refuse such a zip)",
    )
    add("--exempt-class", metavar="CLASS", help="the class that alpha must not change, such as empty")
    add(
        "--max-unreadable",
        type=float,
        metavar="SHARE",
        help=f"share of each part's pictures that may be missing or damaged (default: {bad})",
    )
    add(
        "--test-share",
        type=float,
        metavar="SHARE",
        help=f"share of each class to split off if there are no test pictures (default: {split[0]})",
    )
    add("--split-seed", type=int, metavar="N", help=f"seed of that split (default: {split[1]})")


def _add_columns(group: argparse._ArgumentGroup) -> None:
    """Add the flags that name the columns of a list."""
    add = group.add_argument
    add(
        "--path-column",
        metavar="NAME",
        help="column (JSON: field of an image) with the paths (default: the usual names, such as path)",
    )
    add(
        "--label-column",
        metavar="NAME",
        help="CSV column with the labels (default: the usual names, such as label; then one-hot columns)",
    )
    add("--split-column", metavar="NAME", help="column (JSON: field of an image) with the split: train, val or test")
    add(
        "--group-column",
        metavar="NAME",
        help="column (JSON: field of an image) with groups that a split keeps whole, such as cameras",
    )


def data_options(namespace: argparse.Namespace) -> DataOptions:
    """Return the options of the arguments that `add_data_arguments` added; `--test` alone also serves as `--data`.

    Raises:
        DataError: an option is out of range, or both `--data` and `--test` are missing.

    """
    return _options(given_options(namespace))


def given_options(namespace: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of `DataOptions` that the command line gives, even if the value is the default."""
    values = {field.name: getattr(namespace, field.name) for field in fields(DataOptions) if field.name != "seed"}
    values["seed"] = namespace.split_seed
    return {name: value for name, value in values.items() if value is not None}


def changed_options(before: DataOptions, given: dict[str, Any]) -> DataOptions:
    """Return `before` with the given options; if other data are given, only the exempt class is kept."""
    if given.keys() & {"data", "test"}:
        return _options({"exempt_class": before.exempt_class} | given)
    return replace(before, **given)


def _options(given: dict[str, Any]) -> DataOptions:
    data = given.get("data") or given.get("test")
    if data is None:
        raise DataError("no pictures given; name them with --data or --test")
    return DataOptions(**given | {"data": data})
