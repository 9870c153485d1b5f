"""What lies in the models folder, told by names and by what `stat` says: cheap enough to ask every second.

No file is opened, so nothing in the folder can make a scan wait or fail: a loop of links, a pipe in a file's place and
a folder that may not be read are each one entry that says so. Whether a bundle is a good one is the loader's question.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.bundle import is_version
from models.manifest import NAME_PATTERN

__all__ = ["Fingerprint", "Scan", "fingerprint", "scan", "shown"]

MAX_VERSION = 2**31 - 1  # what the database can hold
MAX_SHOWN_LENGTH = 80
Fingerprint = tuple[Any, ...]  # equal while the files are the same


@dataclass(frozen=True, slots=True)
class Scan:
    """The folder at one moment.

    Args:
        identity: of the folder itself; another one where a file system was mounted over it, or is not any more.
        models: name -> version -> fingerprint of what lies in NAME/VERSION.
        unreadable: names whose folder cannot be listed just now; what lies in it nobody can say.
        strange: (name, folder in it or "") -> why it is no bundle's folder.

    """

    identity: tuple[int, int]
    models: Mapping[str, Mapping[int, Fingerprint]]
    unreadable: frozenset[str]
    strange: Mapping[tuple[str, str], str]


def scan(root: Path) -> Scan:
    """Look at a folder of NAME/VERSION bundles. Hidden entries are nobody's business, plain files beside the names too.

    Raises:
        OSError: the folder is not there, or cannot be listed.

    """
    models: dict[str, dict[int, Fingerprint]] = {}
    strange: dict[tuple[str, str], str] = {}
    unreadable = set()
    found = root.stat()
    for name in _visible(root):
        folder = root / name
        try:
            if not _is_folder(folder):
                continue
            if not NAME_PATTERN.fullmatch(name):
                strange[shown(name), ""] = "not the name of a model: 1 to 64 of a-z 0-9 . _ -, first a letter or digit"
                continue
            models[name], odd = _versions(folder)
        except OSError as error:
            if not os.path.lexists(folder):  # removed since it was listed
                continue
            strange[shown(name), ""] = f"the folder cannot be read: {error.strerror}"
            unreadable.add(name)
            continue
        strange |= {(name, version): why for version, why in odd.items()}
        if not models[name] and not odd:
            strange[name, ""] = "no version in it; bundles lie as NAME/VERSION, a version is 1, 2, 3, ..."
    return Scan((found.st_dev, found.st_ino), models, frozenset(unreadable), strange)


def fingerprint(folder: Path) -> Fingerprint:
    """Return what changes when anything in a bundle's folder does; hidden files, which no bundle has, are left out.

    The time of the last change of status is in it, as neither size nor modification time tell a file from another that
    `cp -p` wrote over it.
    """
    try:
        own = folder.stat()
        files = [(name, *_status(folder / name)) for name in _visible(folder)]
    except OSError as error:
        return "unreadable", error.errno
    return own.st_dev, own.st_ino, *files


def shown(name: str) -> str:
    """Return a file's name as it can be shown to anybody: its bytes need not be text, and it may be long."""
    text = os.fsencode(name).decode("utf-8", "replace")
    return text if len(text) <= MAX_SHOWN_LENGTH else f"{text[:MAX_SHOWN_LENGTH]}…"


def _versions(folder: Path) -> tuple[dict[int, Fingerprint], dict[str, str]]:
    """Return the versions in a model's folder, and why other folders in it are none."""
    versions: dict[int, Fingerprint] = {}
    strange: dict[str, str] = {}
    for name in _visible(folder):
        try:
            is_folder = _is_folder(folder / name)
            trouble = ""
        except OSError as error:
            is_folder = True
            trouble = f"cannot be read: {error.strerror}"
        if is_folder and is_version(name) and len(name) <= 10 and int(name) <= MAX_VERSION:
            versions[int(name)] = fingerprint(folder / name)
        elif is_folder:
            strange[shown(name)] = trouble or f"no version; a version is 1, 2, 3, ..., at most {MAX_VERSION}"
    return versions, strange


def _visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def _is_folder(path: Path) -> bool:
    """Follow links; what is gone since it was listed is no folder.

    Raises:
        OSError: a link that leads nowhere or in a circle, or what may not be looked at.

    """
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        if path.is_symlink():
            raise
        return False


def _status(path: Path) -> tuple[int, ...]:
    """Return what `stat` says of a file, or why it says nothing."""
    try:
        found = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    times = found.st_mtime_ns, found.st_ctime_ns
    return found.st_dev, found.st_ino, found.st_mode, found.st_size, *times
