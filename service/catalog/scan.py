"""Scans the models folder by names and `stat` alone, which is cheap enough to do every second.

No file is opened, so nothing in the folder can make a scan block or fail: a loop of links, a pipe in place of a file
and a folder without read permission are each an entry with a reason. Whether a bundle is valid is checked when it is
loaded.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.manifest import NAME_PATTERN
from models.repository import is_version

__all__ = ["Fingerprint", "Scan", "fingerprint", "scan", "shown"]

MAX_VERSION = 2**31 - 1  # the largest integer of the database column
MAX_SHOWN_LENGTH = 80
Fingerprint = tuple[Any, ...]  # equal as long as the files are the same


@dataclass(frozen=True, slots=True)
class Scan:
    """The folder at one moment.

    Args:
        identity: device and inode of the folder; they change if a file system is mounted over it or unmounted.
        models: name -> version -> fingerprint of NAME/VERSION.
        unreadable: the names whose folder cannot be listed now, so that their versions are unknown.
        invalid: (name, folder in it or "") -> why it is not a bundle's folder.

    """

    identity: tuple[int, int]
    models: Mapping[str, Mapping[int, Fingerprint]]
    unreadable: frozenset[str]
    invalid: Mapping[tuple[str, str], str]


def scan(root: Path) -> Scan:
    """Scan a folder of NAME/VERSION bundles, ignoring hidden entries and plain files beside the model folders.

    Raises:
        OSError: the folder does not exist or cannot be listed.

    """
    models: dict[str, dict[int, Fingerprint]] = {}
    invalid: dict[tuple[str, str], str] = {}
    unreadable = set()
    found = root.stat()
    for name in _visible(root):
        folder = root / name
        try:
            if not _is_folder(folder):
                continue
            if not NAME_PATTERN.fullmatch(name):
                invalid[shown(name), ""] = (
                    "not a model name; use 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit"
                )
                continue
            models[name], not_versions = _versions(folder)
        except OSError as error:
            if not os.path.lexists(folder):  # it was removed after it was listed
                continue
            invalid[shown(name), ""] = f"the folder cannot be read: {_why(error)}"
            unreadable.add(name)
            continue
        invalid |= {(name, version): why for version, why in not_versions.items()}
        if not models[name] and not not_versions:
            invalid[name, ""] = "no version in it; put bundles at NAME/VERSION, where VERSION is 1, 2, 3, ..."
    return Scan((found.st_dev, found.st_ino), models, frozenset(unreadable), invalid)


def fingerprint(folder: Path) -> Fingerprint:
    """Return a value that changes with any file in a bundle's folder; hidden files are ignored, as no bundle has any.

    It includes the time of the last status change, because `cp -p` can replace a file by another one of the same size
    and modification time.
    """
    try:
        own = folder.stat()
        files = [(name, *_status(folder / name)) for name in _visible(folder)]
    except OSError as error:
        return "unreadable", error.errno
    return own.st_dev, own.st_ino, *files


def shown(name: str) -> str:
    """Return a file's name for display: as valid text, and shortened if it is long."""
    text = os.fsencode(name).decode("utf-8", "replace")
    return text if len(text) <= MAX_SHOWN_LENGTH else f"{text[:MAX_SHOWN_LENGTH]}…"


def _versions(folder: Path) -> tuple[dict[int, Fingerprint], dict[str, str]]:
    """Return the versions in a model's folder, and why each other folder is not a version."""
    versions: dict[int, Fingerprint] = {}
    invalid: dict[str, str] = {}
    for name in _visible(folder):
        try:
            is_folder = _is_folder(folder / name)
            problem = ""
        except OSError as error:
            is_folder = True
            problem = f"cannot be read: {_why(error)}"
        if is_folder and is_version(name) and len(name) <= 10 and int(name) <= MAX_VERSION:
            versions[int(name)] = fingerprint(folder / name)
        elif is_folder:
            invalid[shown(name)] = problem or f"not a version; a version is 1, 2, 3, ..., up to {MAX_VERSION}"
    return versions, invalid


def _why(error: OSError) -> str | None:
    return "it is a link that leads nowhere" if isinstance(error, FileNotFoundError) else error.strerror


def _visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def _is_folder(path: Path) -> bool:
    """Return whether a path is a folder, following links. A path that no longer exists is not a folder.

    Raises:
        OSError: a link is broken or circular, or the path cannot be accessed.

    """
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        if path.is_symlink():
            raise
        return False


def _status(path: Path) -> tuple[int, ...]:
    """Return the `stat` values of a file, or the error number if it cannot be accessed."""
    try:
        found = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    times = found.st_mtime_ns, found.st_ctime_ns
    return found.st_dev, found.st_ino, found.st_mode, found.st_size, *times
