"""The lines of a text file from a stranger, one at a time: UTF-8 of bounded length, or a sentence that names one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

from models.sentences import first_few
from training.errors import DataError

__all__ = ["MAX_LIST_BYTES", "Faults", "check_list", "read_lines", "read_names"]

MAX_LIST_BYTES = 2 << 30  # ten million pictures at 200 bytes each
MAX_LINE_BYTES = 1 << 16
MAX_FAULTS = 5


def check_list(path: Path) -> None:
    """Refuse what is no file, empty, or too large to be a list of pictures.

    Raises:
        DataError: one of these.

    """
    if not path.is_file():
        raise DataError(f"{path}: no such file" if not path.exists() else f"{path}: this is no plain file")
    size = path.stat().st_size
    if not size:
        raise DataError(f"{path}: the file is empty; a list has at least one picture of each of two classes")
    if size > MAX_LIST_BYTES:
        raise DataError(f"{path}: {size:,} bytes are more than a list may have ({MAX_LIST_BYTES:,}); split it")


class Faults:
    """What is wrong with a file: the first faults in full, the others counted, all of it raised at the end.

    With an error of its own inside, the block ends early, and that error is the last fault.
    """

    def __init__(self) -> None:
        self._first: list[str] = []
        self._count = 0

    def add(self, sentence: str) -> None:
        """Note one, and go on."""
        self._count += 1
        if len(self._first) < MAX_FAULTS:
            self._first.append(sentence)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        """Raise a DataError if there is a fault."""
        if error is not None and not isinstance(error, DataError):
            return
        if error is not None:
            self.add(str(error))
        if self._count:
            raise DataError(first_few(self._first, MAX_FAULTS, separator="\n", total=self._count)) from error


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, line ends included; a byte order mark is not part of the first.

    Raises:
        DataError: as `check_list`; a line is too long, or not UTF-8.

    """
    check_list(path)
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise DataError(f"{path}: line {number} is longer than {MAX_LINE_BYTES:,} bytes; is this a list?")
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                raise DataError(
                    f"{path}: line {number}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"
                ) from error


def read_names(path: Path) -> tuple[str, ...]:
    """Return the class names of a file with one a line: that of line 1 is class 0.

    Raises:
        DataError: as `read_lines`; a name is empty, there twice, or a number other than its class's: a label 1 would be
            a name in one list and a number in the next.

    """
    names = [line.strip() for line in read_lines(path)]
    while names and not names[-1]:
        names.pop()
    first: dict[str, int] = {}
    with Faults() as faults:
        for number, name in enumerate(names, 1):
            if not name:
                faults.add(f"{path}: line {number} is empty; one class name a line, line 1 is class 0")
            elif name in first:
                faults.add(
                    f"{path}: line {number}: {name!r} is the name of line {first[name]} already; tell them apart"
                )
            elif name.isdecimal() and name != str(number - 1):
                faults.add(
                    f"{path}: line {number}: the class name {name!r} is a number, but the class has the number "
                    f"{number - 1}, so a label {name} can be read in two ways; call it otherwise, or leave "
                    "--class-names away where the labels are names already"
                )
            first.setdefault(name, number)
    if len(names) < 2:
        raise DataError(f"{path}: {len(names)} class names; a classifier has two or more, one a line")
    return tuple(names)
