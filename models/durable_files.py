"""Files and folders that are complete on disk before they become visible, even if the power fails in between."""

import ctypes
import errno
import os
from pathlib import Path

__all__ = ["exchange", "sync_folder", "write_file"]

_RENAME_EXCHANGE = 2  # linux/fs.h
_AT_FDCWD = -100
_NOT_HERE = (errno.ENOSYS, errno.EINVAL, errno.EXDEV)


def write_file(path: Path, content: bytes) -> None:
    """Write a file and flush it to disk before returning."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exchange(one: Path, other: Path) -> None:
    """Exchange two paths on one file system atomically: at every moment both exist and are complete.

    Raises:
        OSError: the system or this file system cannot do that, or may not.

    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, "this system cannot exchange two folders in one step; Linux can")
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE)):
        code = ctypes.get_errno()
        hint = "; this file system cannot exchange two folders in one step" if code in _NOT_HERE else ""
        raise OSError(code, os.strerror(code) + hint)
