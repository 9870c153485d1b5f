"""The load and unload commands of a server's clients, shared by all processes of the server.

A server with one process keeps them in memory. With several processes they are in a small file in the supervisor's
temporary folder. A process replaces the file atomically under a lock, and every process checks several times a second
whether the file was replaced. The commands are lost when the server ends: a restart serves what is in the folder.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["COMMANDS_VARIABLE", "SPREAD_SECONDS", "CommandState", "LoadCommands"]

COMMANDS_VARIABLE = "LOAD_COMMANDS_FILE"  # names the file; service/server/supervisor.py sets it for its processes
POLL_SECONDS = 0.2
SPREAD_SECONDS = 0.5  # by then every healthy process has read the file


@dataclass(frozen=True, slots=True)
class CommandState:
    """The effect of all commands so far.

    Args:
        unloaded: the names that were unloaded and not loaded since.
        load_counts: name -> the number of its load commands.

    """

    unloaded: frozenset[str] = frozenset()
    load_counts: Mapping[str, int] = field(default_factory=dict)

    def load(self, name: str) -> "CommandState":
        """Return the state after a load command."""
        return CommandState(self.unloaded - {name}, {**self.load_counts, name: self.load_counts.get(name, 0) + 1})

    def unload(self, name: str) -> "CommandState":
        """Return the state after an unload command."""
        return CommandState(self.unloaded | {name}, self.load_counts)


class LoadCommands:
    """The load commands of this server.

    Args:
        path: the file that its processes share; None for a server with one process.

    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._state = CommandState()
        self._file_read: tuple[int, int] | None = None  # inode and time of the file that the state was read from

    @property
    def spread_seconds(self) -> float:
        """How long a command waits for every process to read it."""
        return 0.0 if self._path is None else SPREAD_SECONDS

    @property
    def poll_seconds(self) -> float | None:
        """How often to read the commands of other processes; None if there are no others."""
        return None if self._path is None else POLL_SECONDS

    def read(self) -> CommandState:
        """Return the current state. It costs one `stat` if the file was not replaced."""
        if self._path is not None:
            try:
                found = self._path.stat()
            except FileNotFoundError:  # there was no command yet
                return self._state
            if self._file_read != (found.st_ino, found.st_mtime_ns):
                tree = json.loads(self._path.read_bytes())
                self._state = CommandState(frozenset(tree["unloaded"]), tree["load_counts"])
                self._file_read = found.st_ino, found.st_mtime_ns
        return self._state

    def load(self, name: str) -> None:
        """Tell every process to load a model."""
        with self._locked():
            self._write(self.read().load(name))

    def unload(self, name: str) -> None:
        """Tell every process to unload a model until it is loaded again."""
        with self._locked():
            self._write(self.read().unload(name))

    def _write(self, state: CommandState) -> None:
        if self._path is not None:
            text = json.dumps({"unloaded": sorted(state.unloaded), "load_counts": dict(state.load_counts)})
            new_file = self._path.with_suffix(f".{os.getpid()}")
            new_file.write_text(text)
            new_file.replace(self._path)
        else:
            self._state = state

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._path is None:
            yield
            return
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
