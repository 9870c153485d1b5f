"""Which models are kept out of service by hand, and which were asked for: known to all processes of one server.

With one process this is two values in memory. With several they lie in a small file of the supervisor's, replaced in
one step under a lock, and every process looks several times a second whether it is another file than before. Either
way it lives as long as the server: a restart serves what lies in the folder.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["COMMANDS_VARIABLE", "SPREAD_SECONDS", "CommandState", "LoadCommands"]

COMMANDS_VARIABLE = "LOAD_COMMANDS_FILE"  # the file, where there are several processes; server.py says which
LOOK_SECONDS = 0.2
SPREAD_SECONDS = 0.5  # by then every healthy process has looked


@dataclass(frozen=True, slots=True)
class CommandState:
    """What was ordered so far.

    Args:
        kept_out: names that are not to be served.
        asked: name -> how often it was asked to be loaded.

    """

    kept_out: frozenset[str] = frozenset()
    asked: Mapping[str, int] = field(default_factory=dict)

    def load(self, name: str) -> "CommandState":
        """Return what stands once this model is asked for."""
        return CommandState(self.kept_out - {name}, {**self.asked, name: self.asked.get(name, 0) + 1})

    def unload(self, name: str) -> "CommandState":
        """Return what stands once this model is kept out."""
        return CommandState(self.kept_out | {name}, self.asked)


class LoadCommands:
    """The orders of this server.

    Args:
        path: the file that its processes share; None where there is one process.

    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._standing = CommandState()
        self._seen: tuple[int, int] | None = None

    @property
    def spread_seconds(self) -> float:
        """How long an order is given to be seen by every process."""
        return 0.0 if self._path is None else SPREAD_SECONDS

    @property
    def look_seconds(self) -> float | None:
        """How often to look; None where only this process gives orders."""
        return None if self._path is None else LOOK_SECONDS

    def standing(self) -> CommandState:
        """Return what stands; costs a `stat` where nothing has changed."""
        if self._path is not None:
            try:
                found = self._path.stat()
            except FileNotFoundError:  # nothing was ordered yet
                return self._standing
            if self._seen != (found.st_ino, found.st_mtime_ns):
                tree = json.loads(self._path.read_bytes())
                self._standing = CommandState(frozenset(tree["kept_out"]), tree["asked"])
                self._seen = found.st_ino, found.st_mtime_ns
        return self._standing

    def load(self, name: str) -> None:
        """Ask every process to load a model."""
        with self._alone():
            self._write(self.standing().load(name))

    def unload(self, name: str) -> None:
        """Ask every process to keep a model out until it is asked for."""
        with self._alone():
            self._write(self.standing().unload(name))

    def _write(self, standing: CommandState) -> None:
        if self._path is not None:
            text = json.dumps({"kept_out": sorted(standing.kept_out), "asked": dict(standing.asked)})
            fresh = self._path.with_suffix(f".{os.getpid()}")
            fresh.write_text(text)
            fresh.replace(self._path)
        else:
            self._standing = standing

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._path is None:
            yield
            return
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
