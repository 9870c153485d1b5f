"""Where picture files are: a folder, or a zip that is read without being unpacked to disk."""

import os
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Protocol
from unicodedata import normalize

from typing_extensions import override

from models.errors import ArchiveNamesError
from models.labelled_paths import IMAGE_SUFFIXES, is_hidden, is_zip_link
from models.zip_names import zip_names
from training.data.folder_contents import FolderContents, read_folder
from training.errors import DataError

__all__ = ["MAX_PICTURE_BYTES", "PictureStore", "find_listed_file", "open_store"]

MAX_PICTURE_BYTES = 256 << 20  # larger than any picture that the decoder accepts; a zip entry can claim any size
_SUFFIXES = tuple(sorted(variant for suffix in IMAGE_SUFFIXES for variant in (suffix, suffix.upper())))
_FINDER_FOLDER = "__MACOSX"  # added to zips by the Finder of macOS


class PictureStore(Protocol):
    """A folder or a zip. File names are relative, with `/`."""

    def files(self) -> list[str]:
        """Return the names of all files."""

    def folders(self) -> list[str]:
        """Return the names of all folders."""

    def find(self, name: str) -> str | None:
        """Return the name of the file with this name, in any Unicode form, or None if there is none.

        Raises:
            OSError: several files have the name in other Unicode forms, and none exactly.

        """

    def read(self, name: str) -> bytes:
        """Return the contents of a file. Several threads may call this at once.

        Raises:
            OSError, RuntimeError, ValueError, zlib.error, zipfile.BadZipFile: the file is missing, damaged, or
                too large.

        """

    def has_links(self) -> bool:
        """Return whether there are links, so that two names may be of one file."""

    def notes(self) -> list[str]:
        """Return notes for the user on what is left out."""

    def location(self, name: str) -> str:
        """Return the absolute path of a file with links resolved: two names of one file have the same location."""

    def wrapper(self) -> str:
        """Return the only top-level folder, with a trailing `/`, if everything is in it; otherwise ""."""


def open_store(path: Path, zip_encoding: str | None = None) -> PictureStore:
    """Open a folder or a zip.

    Args:
        path: of the folder or zip.
        zip_encoding: of the file names that a zip does not say to be UTF-8; None takes UTF-8 and refuses other names.

    Raises:
        DataError: the path does not exist, is neither a folder nor a readable zip, or a zip with names that are not in
            that encoding.

    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_dir():
        return _FolderStore(path)
    try:
        archive = zipfile.ZipFile(path)
        return _ZipStore(path, archive, zip_names(archive, zip_encoding))
    except ArchiveNamesError as error:
        raise DataError(
            f"{path}: {error}; give {'the' if zip_encoding is None else 'another'} encoding with --zip-encoding"
        ) from error
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise DataError(f"{path}: neither a folder nor a readable zip ({error})") from error


def find_listed_file(store: PictureStore, name: str) -> str:
    """Return the file that a list means by a name.

    The name may lack its suffix, and the folder that wraps a whole zip.

    Raises:
        OSError: there is no such file, or several files differ only in their suffix.

    """
    suffixes = ("",) if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES else ("", *_SUFFIXES)
    for prefix in dict.fromkeys(("", store.wrapper())):
        wanted = (store.find(prefix + name + suffix) for suffix in suffixes)
        found = [file for file in wanted if file is not None]
        if len(found) > 1:
            raise OSError(f"{' and '.join(found)} both exist; write the suffix in the list")
        if found:
            return found[0]
    raise FileNotFoundError("no such picture; --images names the folder that paths are relative to")


class _FolderStore(PictureStore):
    """A folder. Links to folders and files are followed, except those to a folder that contains the link."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._real_path = lru_cache(4096)(os.path.realpath)

    @cached_property
    def _contents(self) -> FolderContents:
        return read_folder(self._root)

    @override
    def files(self) -> list[str]:
        return self._contents.files

    @override
    def folders(self) -> list[str]:
        return self._contents.folders

    @override
    def has_links(self) -> bool:
        return self._contents.has_links

    @override
    def notes(self) -> list[str]:
        return self._contents.notes

    @override
    def find(self, name: str) -> str | None:
        if (self._root / name).is_file():
            return name
        return None if name.isascii() else _only_one(name, self._by_form.get(normalize("NFC", name), []))

    @cached_property
    def _by_form(self) -> dict[str, list[str]]:
        return _by_unicode_form(self.files())

    @override
    def read(self, name: str) -> bytes:
        file = self._root / name
        _check_size(file.stat().st_size)
        return file.read_bytes()

    @override
    def location(self, name: str) -> str:
        folder, _, file = f"{self._root}/{name}".rpartition("/")
        whole = f"{self._real_path(folder)}/{file}"
        return os.path.realpath(whole) if os.path.islink(whole) else whole  # noqa: PTH114  Path raises on names too long

    @override
    def wrapper(self) -> str:
        return ""


class _ZipStore(PictureStore):
    def __init__(self, path: Path, archive: zipfile.ZipFile, names: list[str]) -> None:
        self._path = path.resolve()
        self._archive = archive
        plain = [(entry, name.replace("\\", "/")) for entry, name in zip(archive.infolist(), names, strict=True)]
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry, name in plain:
            if not name.endswith("/"):
                self._add(path, entry, PurePosixPath(name))
        parents = {parent for name in self._entries for parent in PurePosixPath(name).parents}
        named = {PurePosixPath(name) for _, name in plain if name.endswith("/")}
        self._folders = sorted(str(folder) for folder in parents | named if folder.name)
        tops = {name.partition("/")[:2] for name in self._entries if not name.startswith((".", _FINDER_FOLDER))}
        self._wrapper = "".join(next(iter(tops))) if len(tops) == 1 and next(iter(tops))[1] else ""

    def _add(self, path: Path, entry: zipfile.ZipInfo, name: PurePosixPath) -> None:
        """Add a file; refuse what cannot be read as it was packed."""
        if name.is_absolute() or ".." in name.parts:
            raise DataError(f"{path}: the path {str(name)[:200]!r} leads out of the zip; pack it again")
        if is_zip_link(entry) and not is_hidden(name):
            raise DataError(
                f"{path}: {str(name)[:200]} is a link, which is not followed in a zip; pack the files themselves "
                "(zip without --symlinks)"
            )
        if str(name) in self._entries:
            raise DataError(f"{path}: {str(name)[:200]}: two files in the zip have this name; pack it again")
        self._entries[str(name)] = entry

    @override
    def files(self) -> list[str]:
        return list(self._entries)

    @override
    def has_links(self) -> bool:
        return False

    @override
    def notes(self) -> list[str]:
        return []

    @override
    def folders(self) -> list[str]:
        return self._folders

    @override
    def find(self, name: str) -> str | None:
        if name in self._entries:
            return name
        return None if name.isascii() else _only_one(name, self._by_form.get(normalize("NFC", name), []))

    @cached_property
    def _by_form(self) -> dict[str, list[str]]:
        return _by_unicode_form(self._entries)

    @override
    def read(self, name: str) -> bytes:
        if name not in self._entries:
            raise FileNotFoundError("no such file in the zip")
        _check_size(self._entries[name].file_size)
        return self._archive.read(self._entries[name])

    @override
    def location(self, name: str) -> str:
        return f"{self._path}/{name}"

    @override
    def wrapper(self) -> str:
        return self._wrapper


def _by_unicode_form(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names that are not ASCII by their composed form."""
    by_form: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if not name.isascii():
            by_form[normalize("NFC", name)].append(name)
    return by_form


def _only_one(name: str, found: list[str]) -> str | None:
    if len(found) > 1:
        raise OSError(f"{' and '.join(map(ascii, found))} both are {name}, in two Unicode forms; rename one")
    return found[0] if found else None


def _check_size(size: int) -> None:
    if size > MAX_PICTURE_BYTES:
        raise OSError(f"{size:,} bytes; a picture has at most {MAX_PICTURE_BYTES:,}")
