"""`--classes`: the names and training counts of the classes, in the order of the training labels.

The authors' checkpoints contain neither. The file has one class a line, `name,count` or `name count` (the count follows
the last comma or space), or it is a JSON list of {"name": ..., "training_count": ...} or [name, count].
"""

import json
import re
from decimal import Decimal
from pathlib import Path

from models.class_names import MAX_CLASS_NAME_LENGTH, is_class_name, read_name, spelling_key
from models.errors import ClassNameError
from models.manifest import ClassInfo, group_of
from models.sentences import first_few
from training.errors import DataError

__all__ = ["read_class_list"]

_LINE = re.compile(r"\s*(?P<name>\S|\S.*?\S)\s*[,\s]\s*(?P<count>0|[1-9][0-9]{0,14})\s*")
_THOUSANDS = re.compile(
    r".*,\s*[0-9]{1,3}(,[0-9]{3})+\s*"
)  # "cat,1,000": 1,000 cats, or a class "cat,1" with 0 pictures?
_Row = tuple[str, str, int]  # place, name, count


def read_class_list(path: Path) -> tuple[ClassInfo, ...]:
    """Read a class list.

    Raises:
        DataError: the file is missing or not UTF-8, or lines are faulty; the message has a line for each of the first
            faults.

    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"--classes {path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"--classes {path}: not UTF-8 ({error}); save the file as UTF-8") from error
    rows, faults = _read_json(path, text) if text.lstrip().startswith("[") else _read_lines(text)
    faults = faults or _find_repeated(rows)
    if faults:
        raise DataError(first_few((f"--classes {path}: {fault}" for fault in faults), separator="\n"))
    if len(rows) < 2:
        raise DataError(f"--classes {path}: a classifier needs two or more classes; found {len(rows)}")
    return tuple(ClassInfo(name, count, group_of(count)) for _, name, count in rows)


def _read_lines(text: str) -> tuple[list[_Row], list[str]]:
    """Return the rows of a text file, and its faults."""
    rows: list[_Row] = []
    faults: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        place = f"line {number}"
        found = _LINE.fullmatch(line)
        if _THOUSANDS.fullmatch(line):
            faults.append(f"{place}: {line.strip()[:60]!r} is ambiguous; write the count without commas")
        elif found is None:
            faults.append(f"{place}: {line.strip()[:60]!r} is not `name,training_count`, such as `cat,500`")
        else:
            _add(rows, faults, place, found["name"], int(found["count"]))
    return rows, faults


def _read_json(path: Path, text: str) -> tuple[list[_Row], list[str]]:
    """Return the rows of a JSON list, and its faults."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"--classes {path}: not a valid JSON list ({error})") from error
    rows: list[_Row] = []
    faults: list[str] = []
    for index, entry in enumerate(entries):
        place = f"entry {index}"
        match entry:
            case {"name": name, "training_count": int(count), **rest} if not rest:
                pass
            case [name, int(count)]:
                pass
            case _:
                name = ""
                count = -1
        if isinstance(count, bool) or not 0 <= count < 10**15:
            shown = json.dumps(entry, ensure_ascii=False)[:60]
            faults.append(f'{place}: {shown} is neither {{"name": "cat", "training_count": 500}} nor ["cat", 500]')
        else:
            _add(rows, faults, place, name, count)
    return rows, faults


def _add(rows: list[_Row], faults: list[str], place: str, value: object, count: int) -> None:
    """Add a row, or the fault of its name."""
    try:
        name = read_name(value)
    except ClassNameError as error:
        faults.append(f"{place}: the name {error}")
        return
    if is_class_name(name):
        rows.append((place, name, count))
    else:
        faults.append(
            f"{place}: the name {value!r:.60} must be 1 to {MAX_CLASS_NAME_LENGTH} printable characters, and not NaN"
        )


def _find_repeated(rows: list[_Row]) -> list[str]:
    first_place: dict[Decimal | str, str] = {}
    faults = []
    for place, name, _ in rows:
        first = first_place.setdefault(spelling_key(name), place)
        if first != place:
            faults.append(f"{place}: {first} already has the name {name!r}; every class needs its own name")
    return faults
