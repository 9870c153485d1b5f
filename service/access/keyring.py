"""The API keys in force: the keys of the settings and of a key file, which may change while the server runs.

The key ring checks the file for changes at most once a second, when a request comes, so keys can be added and removed
without a restart. If the file is broken or missing, the keys that were read last stay in force and the log says so
once. If it is empty, none of its keys is valid any more.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from service.keys import ApiKey, KeysError, find_key, read_key_file

__all__ = ["KeyRing"]

log = logging.getLogger("longtail.keys")
CHECK_SECONDS = 1.0
FileVersion = tuple[int, int, int, int]


class KeyRing:
    """Finds a request's key among the keys in force.

    Args:
        own: keys that never change.
        file: a file with more keys; None if there is none.
        clock: a monotonic clock, in seconds.

    Raises:
        KeysError: the file cannot be used, or has no key.

    """

    def __init__(self, own: tuple[ApiKey, ...], file: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._own = own
        self._file = file
        self._clock = clock
        self._keys = own
        self._version = None
        self._next_check = clock() + CHECK_SECONDS
        if file is not None:
            self._version = _file_version(file)  # before reading, so that the next check sees a change in between
            self._keys = own + read_key_file(file, own)
            if self._keys == own:
                raise KeysError(f"{file} has no key; `python -m service.keys NAME >> {file}` adds one")

    def find(self, given: bytes) -> ApiKey | None:
        """Return the key in force that matches the given one, or None."""
        if self._file is not None and self._clock() >= self._next_check:
            self._reload(self._file)
        return find_key(self._keys, given)

    def _reload(self, file: Path) -> None:
        self._next_check = self._clock() + CHECK_SECONDS
        version = _file_version(file)
        if version == self._version:
            return
        self._version = version
        try:
            keys = read_key_file(file, self._own)
        except KeysError as error:
            log.error("the API keys read last stay in force: %s", error)  # noqa: TRY400  a traceback adds nothing
            return
        self._keys = self._own + keys
        log.info("API keys of %s: %s", file, ", ".join(key.name for key in keys) or "none")


def _file_version(file: Path) -> FileVersion | None:
    """Return numbers that change with the file's content or permissions; None if the file is missing."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
