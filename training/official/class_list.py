"""`--classes`: the names and training counts of the classes, in the order of the labels the network was trained with.

The authors' checkpoints hold neither. One class a line, `name,count` or `name count` (the count is what follows the
last comma or space), or a JSON list of {"name": ..., "training_count": ...} or [name, count].
"""

import json
import re
from pathlib import Path
from typing import Any

from models.manifest import ClassInfo, group_of
from models.sentences import first_few
from training.errors import DataError

__all__ = ["read_class_list"]

_LINE = re.compile(r"\s*(?P<name>\S|\S.*?\S)\s*[,\s]\s*(?P<count>0|[1-9][0-9]{0,14})\s*")
_THOUSANDS = re.compile(r".*,\s*[0-9]{1,3}(,[0-9]{3})+\s*")  # a class "cat,1" with 0 images, or 1,000 cats?


def read_class_list(path: Path) -> tuple[ClassInfo, ...]:
    """Read the file.

    Raises:
        DataError: no such file, not UTF-8, or faulty lines: a sentence for each, for the first few of many.

    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"--classes {path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"--classes {path}: is not UTF-8 text: {error}") from error
    rows = _of_json(path, text) if text.lstrip().startswith("[") else _of_lines(text)
    faults = [row for row in rows if isinstance(row, str)] or _repeated(rows)
    if faults:
        raise DataError(first_few((f"--classes {path}: {fault}" for fault in faults), separator="\n"))
    if len(rows) < 2:
        raise DataError(f"--classes {path}: names {len(rows)} classes; a classifier has two or more")
    return tuple(ClassInfo(name, count, group_of(count)) for _, name, count in rows)


Row = tuple[str, str, int] | str  # where, name, count; or what is wrong


def _of_lines(text: str) -> list[Any]:
    rows: list[Row] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line)
        if _THOUSANDS.fullmatch(line):
            rows.append(f"line {number}: {line.strip()[:60]!r} can be read in two ways; write the count without commas")
        elif found is None:
            rows.append(f"line {number}: {line.strip()[:60]!r} is not `name,training_count`, such as `cat,500`")
        else:
            rows.append(_checked(f"line {number}", found["name"], int(found["count"])))
    return rows


def _of_json(path: Path, text: str) -> list[Any]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"--classes {path}: begins like a JSON list but is none: {error}") from error
    rows: list[Row] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, dict) and entry.keys() == {"name", "training_count"}:
            name = entry["name"]
            count = entry["training_count"]
        elif isinstance(entry, list) and len(entry) == 2:
            name, count = entry
        else:
            name = count = None
        if isinstance(name, str) and type(count) is int and 0 <= count < 10**15:
            rows.append(_checked(f"entry {index}", name, count))
        else:
            shown = json.dumps(entry, ensure_ascii=False)[:60]
            rows.append(f'entry {index}: {shown} is neither {{"name": "cat", "training_count": 500}} nor ["cat", 500]')
    return rows


def _checked(where: str, name: str, count: int) -> Row:
    if not (name.strip() and len(name) <= 200 and name.isprintable()):
        return f"{where}: the name {name[:60]!r} must be 1 to 200 printable characters"
    return where, name, count


def _repeated(rows: list[Any]) -> list[str]:
    first: dict[str, str] = {}
    faults = []
    for where, name, _ in rows:
        if name in first:
            faults.append(f"{where}: {name!r} is at {first[name]} already; every class needs a name of its own")
        first.setdefault(name, where)
    return faults
