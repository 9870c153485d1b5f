"""All files and folders below a folder. Links are followed, so that a data set may be put together from links.

A link to a folder that contains the link would never end: it is left out with a note. Whatever else cannot be followed
or listed ends in an error, because pictures could be behind it. A link to a missing picture counts as a file, which
then cannot be read (`--max-unreadable`).
"""

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from models.labelled_paths import is_hidden, is_picture
from models.sentences import first_few
from training.errors import DataError

__all__ = ["FolderContents", "read_folder"]

_Identity = tuple[int, int]  # device and inode of a folder


@dataclass
class FolderContents:
    """What lies below a folder; names are relative, with `/`.

    Attributes:
        files: all files, also hidden ones.
        folders: all folders.
        has_links: whether there is a link.
        loops: the links that are left out, because they lead to a folder that contains them.

    """

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    has_links: bool = False
    loops: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What is left out, and why."""
        if not self.loops:
            return []
        return [f"links to a folder that contains them are not followed: {first_few(sorted(self.loops))}"]


def read_folder(root: Path) -> FolderContents:
    """Return what lies below a folder, with links followed.

    Raises:
        DataError: a folder cannot be listed, a link leads nowhere, or a picture is not a regular file.

    """
    contents = FolderContents()
    pending: list[tuple[str, frozenset[_Identity]]] = [("", frozenset({_identity(root)}))]
    while pending:
        folder, around = pending.pop()
        try:
            with os.scandir(root / folder) as entries:
                inside = list(entries)
        except OSError as error:
            if is_hidden(PurePosixPath(folder)):
                continue
            raise DataError(f"{root / folder}: cannot be listed ({error.strerror}); give read access to it") from error
        for entry in inside:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if _is_folder(root, name, entry, contents):
                identity = _identity(Path(entry.path))
                if entry.is_symlink() and identity in around:
                    contents.loops.append(name)
                else:
                    contents.folders.append(name)
                    pending.append((name, around | {identity}))
    return contents


def _is_folder(root: Path, name: str, entry: "os.DirEntry[str]", contents: FolderContents) -> bool:
    """Return whether an entry is a folder; add it to the contents if it is a file."""
    path = PurePosixPath(name)
    contents.has_links |= entry.is_symlink()
    try:
        if entry.is_dir():
            return True
        regular = entry.is_file()
    except OSError:  # a link to itself
        regular = False
    missing = not regular and entry.is_symlink()
    if regular or (missing and is_picture(path)):
        contents.files.append(name)
    elif missing and not is_hidden(path):
        raise DataError(f"{root / name}: a broken link; mount what it leads to, or remove it")
    elif is_picture(path):
        raise DataError(f"{root / name}: neither a file nor a folder; remove it")
    return False


def _identity(folder: Path) -> _Identity:
    status = folder.stat()
    return status.st_dev, status.st_ino
