"""The keys in force: the settings' own, and a file's, which may change while the server runs.

The file is looked at again at most once a second, by whichever request comes then, so a key is added or taken away
without a restart. A file that is broken or gone takes no key away and adds none: the keys known last stay, and the log
says so once. One that is emptied is obeyed: nobody's key opens anything then.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from service.keys import Key, KeysError, find_key, read_key_file

__all__ = ["KeyRing"]

log = logging.getLogger("longtail.keys")
LOOK_SECONDS = 1.0
Stamp = tuple[int, int, int, int]


class KeyRing:
    """Finds a call's key among those in force.

    Args:
        own: keys that stay as they are.
        file: whose keys come beside them; None is no file.
        clock: seconds, never going back.

    Raises:
        KeysError: the file cannot be used, or holds no key.

    """

    def __init__(self, own: tuple[Key, ...], file: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._own = own
        self._file = file
        self._clock = clock
        self._keys = own
        self._stamp = None
        self._next_look = clock() + LOOK_SECONDS
        if file is not None:
            self._stamp = _stamp(file)  # before it is read: what changes in between is seen at the next look
            self._keys = own + read_key_file(file, own)
            if self._keys == own:
                raise KeysError(f"{file} holds no key; `python -m service.keys NAME >> {file}` makes one")

    def find(self, given: bytes) -> Key | None:
        """Return the key that was given, or None."""
        if self._file is not None and self._clock() >= self._next_look:
            self._look(self._file)
        return find_key(self._keys, given)

    def _look(self, file: Path) -> None:
        self._next_look = self._clock() + LOOK_SECONDS
        stamp = _stamp(file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            keys = read_key_file(file, self._own)
        except KeysError as error:
            log.error("the keys known last stay in force: %s", error)  # noqa: TRY400  the sentence is all there is
            return
        self._keys = self._own + keys
        log.info("keys of %s: %s", file, ", ".join(key.name for key in keys) or "none, so no key of it is taken")


def _stamp(file: Path) -> Stamp | None:
    """Return what changes with the file, also when only who may read it does; None where it is gone."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
