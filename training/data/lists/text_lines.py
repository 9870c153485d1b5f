"""Reading untrusted text files line by line, and reporting several faults in one error."""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

from models.class_names import is_number, read_name
from models.sentences import first_few
from training.errors import DataError

__all__ = ["MAX_LIST_BYTES", "Faults", "check_list", "read_lines", "read_names"]

MAX_LIST_BYTES = 2 << 30  # ten million pictures at 200 bytes each
MAX_LINE_BYTES = 1 << 16
MAX_FAULTS_SHOWN = 5


def check_list(path: Path) -> None:
    """Check that a path is a regular file of a plausible size.

    Raises:
        DataError: the file is missing, empty, too large, or not a regular file.

    """
    if not path.is_file():
        raise DataError(f"{path}: no such file" if not path.exists() else f"{path}: not a regular file")
    size = path.stat().st_size
    if not size:
        raise DataError(f"{path}: the file is empty; list at least one picture of each of two classes")
    if size > MAX_LIST_BYTES:
        raise DataError(f"{path}: {size:,} bytes; a list has at most {MAX_LIST_BYTES:,}, so split it")


class Faults:
    """A context manager that collects the faults of a file and raises them as one DataError at the end.

    The message shows the first faults and counts the others. A DataError raised inside the block ends the block
    and is added as the last fault.
    """

    def __init__(self) -> None:
        self._first: list[str] = []
        self._count = 0

    def add(self, message: str) -> None:
        """Add a fault."""
        self._count += 1
        if len(self._first) < MAX_FAULTS_SHOWN:
            self._first.append(message)

    def __enter__(self) -> Self:
        """Return this collection."""
        return self

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        """Raise a DataError if there are faults; let any other exception pass."""
        if error is not None and not isinstance(error, DataError):
            return
        if error is not None:
            self.add(str(error))
        if self._count:
            raise DataError(first_few(self._first, MAX_FAULTS_SHOWN, separator="\n", total=self._count)) from error


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 text file with their line ends, without a byte order mark.

    Raises:
        DataError: see `check_list`; or a line is too long or is not UTF-8.

    """
    check_list(path)
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise DataError(f"{path}: line {number}: longer than {MAX_LINE_BYTES:,} bytes; is this a list?")
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                raise DataError(
                    f"{path}: line {number}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"
                ) from error


def read_names(path: Path) -> tuple[str, ...]:
    """Read class names, one a line; line 1 names class 0.

    Raises:
        DataError: see `read_lines`; or a name is empty, repeated, or a number other than its class number. Such a
            number would be ambiguous: the label 1 could mean the class named "1" or class number 1.

    """
    lines = [line.strip() for line in read_lines(path)]
    while lines and not lines[-1]:
        lines.pop()
    names = list(map(read_name, lines))
    first_line: dict[str, int] = {}
    with Faults() as faults:
        for number, name in enumerate(names, 1):
            if not name:
                what = repr(lines[number - 1]) + " stands for no name" if lines[number - 1] else "empty"
                faults.add(f"{path}: line {number}: {what}; write one class name a line, line 1 is class 0")
            elif name in first_line:
                faults.add(
                    f"{path}: line {number}: {name!r} already is the name in line {first_line[name]}; "
                    "every class needs a different name"
                )
            elif is_number(name) and name != str(number - 1):
                faults.add(
                    f"{path}: line {number}: the name {name!r} is a number, but this is class number {number - 1}, so "
                    f"the label {name} is ambiguous; rename the class, or drop --class-names if the labels are names"
                )
            first_line.setdefault(name, number)
    if len(names) < 2:
        raise DataError(f"{path}: a classifier needs two or more class names, one a line; found {len(names)}")
    return tuple(names)
