"""Where pictures lie: a folder, or a zip that is never unpacked to disk. Both are asked the same things."""

import os
import zipfile
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Protocol

from models.labelled_paths import IMAGE_SUFFIXES
from training.errors import DataError

__all__ = ["MAX_PICTURE_BYTES", "PictureStore", "find_listed_file", "open_store"]

MAX_PICTURE_BYTES = 256 << 20  # no picture that may be decoded is larger; a zip can claim anything
_SUFFIXES = tuple(sorted(suffix for each in IMAGE_SUFFIXES for suffix in (each, each.upper())))
_NO_FOLDER = "__MACOSX"  # what the Finder adds to a zip


class PictureStore(Protocol):
    """A folder or a zip. Names are relative, with `/`."""

    def files(self) -> list[str]:
        """Return the name of every file."""

    def folders(self) -> list[str]:
        """Return the name of every folder."""

    def holds(self, name: str) -> bool:
        """Say whether there is such a file."""

    def read(self, name: str) -> bytes:
        """Return a file's content; safe to call from several threads.

        Raises:
            OSError, RuntimeError, ValueError, zlib.error, zipfile.BadZipFile: it is not there, too large, or damaged.

        """

    def where(self, name: str) -> str:
        """Return where a file lies, links followed: two names that lead to the same file come to the same."""

    def wrapper(self) -> str:
        """Return the one folder that everything lies in, with `/`; "" where there is none."""


def open_store(path: Path) -> PictureStore:
    """Open a folder or a zip.

    Raises:
        DataError: nothing there, or neither.

    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_dir():
        return _FolderStore(path)
    try:
        return _ZipStore(path, zipfile.ZipFile(path))
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise DataError(f"{path}: neither a folder nor a readable zip ({error})") from error


def find_listed_file(store: PictureStore, name: str) -> str:
    """Return the file that a list names with or without its suffix, or below the one folder a zip wraps all in.

    Raises:
        OSError: there is none, or there are several that differ in their suffix.

    """
    suffixes = ("",) if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES else ("", *_SUFFIXES)
    for prefix in dict.fromkeys(("", store.wrapper())):
        found = [prefix + name + suffix for suffix in suffixes if store.holds(prefix + name + suffix)]
        if len(found) > 1:
            raise OSError(f"{' and '.join(found)} are both there; list the one that is meant with its suffix")
        if found:
            return found[0]
    raise FileNotFoundError("there is no such picture; --images says where paths start")


class _FolderStore:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._real_path = lru_cache(4096)(os.path.realpath)

    def files(self) -> list[str]:
        return [file.relative_to(self._root).as_posix() for file in self._root.rglob("*") if file.is_file()]

    def folders(self) -> list[str]:
        return [entry.relative_to(self._root).as_posix() for entry in self._root.rglob("*") if entry.is_dir()]

    def holds(self, name: str) -> bool:
        return (self._root / name).is_file()

    def read(self, name: str) -> bytes:
        file = self._root / name
        _check_size(file.stat().st_size)
        return file.read_bytes()

    def where(self, name: str) -> str:
        folder, _, file = f"{self._root}/{name}".rpartition("/")
        whole = f"{self._real_path(folder)}/{file}"
        return os.path.realpath(whole) if os.path.islink(whole) else whole  # noqa: PTH114  Path raises on names too long

    def wrapper(self) -> str:
        return ""


class _ZipStore:
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path.resolve()
        self._archive = archive
        plain = [(entry, entry.filename.replace("\\", "/")) for entry in archive.infolist()]
        self._entries = {str(PurePosixPath(name)): entry for entry, name in plain if not name.endswith("/")}
        parents = {parent for name in self._entries for parent in PurePosixPath(name).parents}
        named = {PurePosixPath(name) for _, name in plain if name.endswith("/")}
        self._folders = sorted(str(folder) for folder in parents | named if folder.name)
        tops = {name.partition("/")[:2] for name in self._entries if not name.startswith((".", _NO_FOLDER))}
        self._wrapper = "".join(next(iter(tops))) if len(tops) == 1 and next(iter(tops))[1] else ""

    def files(self) -> list[str]:
        return list(self._entries)

    def folders(self) -> list[str]:
        return self._folders

    def holds(self, name: str) -> bool:
        return name in self._entries

    def read(self, name: str) -> bytes:
        if name not in self._entries:
            raise FileNotFoundError("there is no such file in the zip")
        _check_size(self._entries[name].file_size)
        return self._archive.read(self._entries[name])

    def where(self, name: str) -> str:
        return f"{self._path}/{name}"

    def wrapper(self) -> str:
        return self._wrapper


def _check_size(size: int) -> None:
    if size > MAX_PICTURE_BYTES:
        raise OSError(f"it has {size:,} bytes; a picture has at most {MAX_PICTURE_BYTES:,}")
