"""What the command line says about the data: one frozen value that a run keeps, so that the same data are had again."""

import argparse
import shlex
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from training.data.lists.csv_table import Columns
from training.errors import DataError

__all__ = [
    "MAX_UNREADABLE_SHARE",
    "DataOptions",
    "add_data_arguments",
    "changed_options",
    "data_options",
    "given_options",
    "path_name",
]

MAX_UNREADABLE_SHARE = 0.1  # of `tune`; beyond it something is wrong with the set, not with a picture
_PATHS = ("data", "test", "images", "class_names")


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What the command line says about the data.

    Attributes:
        data: class folders (a folder or a zip), or a list: `.txt`, `.csv`, `.tsv` or `.json`.
        test: the test part, of the same kind; by default a part of `data`, or split off it.
        images: folder or zip that a list's paths are relative to; by default the list's own folder.
        path_column, label_column, split_column, group_column: of a CSV file; of a JSON file, fields of its images.
        class_names: a file of one class name a line, for lists whose labels are numbers.
        exempt_class: the class that alpha must not touch, such as "empty".
        max_unreadable: share of a part's pictures that may be missing or damaged, 0 to 1.
        test_share: share of each class that is split off where there is no test part.
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
    exempt_class: str | None = None
    max_unreadable: float = 0.0
    test_share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what no data set could be opened with."""
        if not 0.0 <= self.max_unreadable < 1.0:
            raise DataError(
                f"--max-unreadable {self.max_unreadable:g} is no share; 0.01 lets one picture in 100 be bad"
            )
        if not 0.0 < self.test_share < 1.0:
            raise DataError(f"--test-share {self.test_share:g} is not between 0 and 1; 0.2 splits a fifth off")

    @classmethod
    def of(cls, data: "Path | DataOptions") -> "DataOptions":
        """Return the options of a data set that needs none."""
        return data if isinstance(data, DataOptions) else cls(data=data)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for a checkpoint; paths whole, so that they are found from elsewhere."""
        return {
            name: str(value.absolute()) if isinstance(value, Path) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        unknown = values.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise DataError(f"the run's data options have fields this version does not know: {sorted(unknown)}")
        return cls(**{name: Path(v) if name in _PATHS and v is not None else v for name, v in values.items()})

    def differences(self, other: "DataOptions") -> list[str]:
        """Return the arguments that say otherwise than those of `other`; a path may be written in any way."""
        found: list[str] = []
        for field in fields(self):
            mine, others = (getattr(options, field.name) for options in (self, other))
            if mine == others or (isinstance(mine, Path) and others is not None and mine.resolve() == others.resolve()):
                continue
            value = mine.absolute() if isinstance(mine, Path) else mine
            found.append(f"{_flag(field.name)} {value}" if value is not None else f"no {_flag(field.name)}")
        return found

    def exempt_index(self, class_names: tuple[str, ...]) -> int | None:
        """Return the number of the exempt class, or None where none is."""
        return None if self.exempt_class is None else class_names.index(self.exempt_class)

    @property
    def columns(self) -> Columns:
        """The columns of a table."""
        return Columns(self.path_column, self.label_column, self.split_column, self.group_column)

    def refuse(self, path: Path, what: str, *names: str) -> None:
        """Refuse the options of these names where they are given: nothing is passed over in silence.

        Raises:
            DataError: one is given; `what` says what has no use for it.

        """
        for name in names:
            if getattr(self, name) is not None:
                raise DataError(f"{path}: {what} no use for {_flag(name)}; leave it away")

    def refuse_for_folders(self, path: Path) -> None:
        """Refuse what only lists have a use for, as `refuse`."""
        columns = ("path_column", "label_column", "split_column", "group_column")
        self.refuse(path, "class folders have", *columns, "images", "class_names")

    @property
    def split_settings(self) -> dict[str, Any]:
        """What decides which pictures are split off, for provenance; `data` may lie elsewhere later."""
        return {name: getattr(self, name) for name in ("test_share", "seed", "group_column")}

    @property
    def arguments(self) -> str:
        """The command's arguments that say the same, files by name only: for a card that others read."""
        words: list[str] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "data" and value == self.test:
                continue
            if field.name == "data" or value != field.default:
                words += [_flag(field.name), path_name(value) if isinstance(value, Path) else str(value)]
        return shlex.join(words)


def path_name(path: Path) -> str:
    """Return the name of a file or folder, also where it was given as `.` or `..`.

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
    """Add `--data` and what goes with it; `data_options` reads them.

    Args:
        parser: of the command.
        data_required: whether there is nothing without `--data`.
        bad: the default of `--max-unreadable`, as the help says it.
        split: the defaults of `--test-share` and `--split-seed`, likewise.

    """
    group = parser.add_argument_group("data", "formats and examples: training/README.md, Data")
    add = group.add_argument
    add(
        "--data",
        type=Path,
        required=data_required,
        help="class folders (folder or zip), or a list of pictures: .txt, .csv, .tsv or .json",
    )
    add("--test", type=Path, help="the test part; by default the one in --data, or split off it")
    add("--images", type=Path, help="folder or zip that a list's paths start in; by default the list's folder")
    add("--path-column", metavar="NAME", help="CSV column of the paths")
    add(
        "--label-column",
        metavar="NAME",
        help="CSV column of the labels; without one, columns of 0 and 1 for each class",
    )
    add("--split-column", metavar="NAME", help="column (JSON: field of an image) that says train, val or test")
    add("--group-column", metavar="NAME", help="column (JSON: field of an image) that a split-off part never divides")
    add("--class-names", type=Path, metavar="FILE", help="a class name a line, for labels that are numbers")
    add("--exempt-class", metavar="CLASS", help="the class that alpha must not touch, such as empty")
    add(
        "--max-unreadable",
        type=float,
        metavar="SHARE",
        help=f"of each part that may be missing or damaged (default: {bad})",
    )
    add(
        "--test-share",
        type=float,
        metavar="SHARE",
        help=f"of each class that is split off for a test (default: {split[0]})",
    )
    add("--split-seed", type=int, metavar="N", help=f"of that split (default: {split[1]})")


def data_options(namespace: argparse.Namespace) -> DataOptions:
    """Return what the arguments of `add_data_arguments` say; where only `--test` is given, it is the data too.

    Raises:
        DataError: an option that makes no sense, or neither `--data` nor `--test`.

    """
    return _options(given_options(namespace))


def given_options(namespace: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of `DataOptions` that the command line names, be it with what is the default anyway."""
    values = {field.name: getattr(namespace, field.name) for field in fields(DataOptions) if field.name != "seed"}
    values["seed"] = namespace.split_seed
    return {name: value for name, value in values.items() if value is not None}


def changed_options(before: DataOptions, given: dict[str, Any]) -> DataOptions:
    """Return the options of before with what is given; other data bring all of their own but the exempt class."""
    if given.keys() & {"data", "test"}:
        return _options({"exempt_class": before.exempt_class} | given)
    return replace(before, **given)


def _options(given: dict[str, Any]) -> DataOptions:
    data = given.get("data") or given.get("test")
    if data is None:
        raise DataError("name the pictures with --data or --test")
    return DataOptions(**given | {"data": data})
