"""`--classes`: the names and training counts of the classes, in the order of the training labels.

The authors' checkpoints contain neither. The file has one class a line, `name,count` or `name count` (the count follows
the last comma or space), or it is a JSON list of {"name": ..., "training_count": ...} or [name, count].
"""

import json
import re
from pathlib import Path

from models.manifest import ClassInfo, group_of
from models.sentences import first_few
from training.errors import DataError

__all__ = ["read_class_list"]

_LINE = re.compile(r"\s*(?P<name>\S|\S.*?\S)\s*[,\s]\s*(?P<count>0|[1-9][0-9]{0,14})\s*")
_THOUSANDS = re.compile(
    r".*,\s*[0-9]{1,3}(,[0-9]{3})+\s*"
)  # "cat,1,000": 1,000 cats, or a class "cat,1" with 0 pictures?
MAX_NAME_LENGTH = 200  # the limit of the bundle's manifest
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
        elif not _is_valid_name(found["name"]):
            faults.append(_invalid_name(place, found["name"]))
        else:
            rows.append((place, found["name"], int(found["count"])))
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
            case {"name": str(name), "training_count": int(count), **rest} if not rest:
                pass
            case [str(name), int(count)]:
                pass
            case _:
                name = ""
                count = -1
        if isinstance(count, bool) or not 0 <= count < 10**15:
            shown = json.dumps(entry, ensure_ascii=False)[:60]
            faults.append(f'{place}: {shown} is neither {{"name": "cat", "training_count": 500}} nor ["cat", 500]')
        elif not _is_valid_name(name):
            faults.append(_invalid_name(place, name))
        else:
            rows.append((place, name, count))
    return rows, faults


def _is_valid_name(name: str) -> bool:
    return bool(name.strip()) and len(name) <= MAX_NAME_LENGTH and name.isprintable()


def _invalid_name(place: str, name: str) -> str:
    return f"{place}: the name {name[:60]!r} must be 1 to {MAX_NAME_LENGTH} printable characters"


def _find_repeated(rows: list[_Row]) -> list[str]:
    first_place: dict[str, str] = {}
    faults = []
    for place, name, _ in rows:
        if name in first_place:
            faults.append(f"{place}: {first_place[name]} already has the name {name!r}; every class needs its own name")
        first_place.setdefault(name, place)
    return faults
