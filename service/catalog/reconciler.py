"""Brings the registry in line with the models folder and the load commands, step by step.

A step takes new commands, scans the folder if that is due, puts models in service that are fully loaded, and loads at
most one bundle. Steps follow one another until nothing is left to do; the thread in `catalog.py` runs them.
"""

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from engines.base import DeviceError, EngineError
from models.errors import BundleError
from models.manifest import NAME_PATTERN
from service.catalog.load_commands import LoadCommands
from service.catalog.networks import Networks
from service.catalog.scan import fingerprint, scan
from service.catalog.state import CatalogState, Refusal
from service.errors import ModelLoadError, UnknownModelError
from service.inference.registry import Registry, ServedModel
from service.metrics import Metrics

__all__ = ["PendingCommand", "Reconciler"]

log = logging.getLogger("longtail.catalog")
MAX_READS = 5  # of a bundle whose files change while they are read
MAX_LOGGED = 20  # invalid folders of one scan


class PendingCommand(NamedTuple):
    """A command to load or unload a model, with the future that a request waits for."""

    name: str
    load: bool
    done: "Future[None]"


class Reconciler:
    """Runs the steps. One thread may call its methods; other threads may read `state` under the lock.

    Args:
        root: the folder of NAME/VERSION bundles.
        registry: the models in service.
        load: folder of a bundle -> model, warmed up.
        networks: records which networks come into service.
        commands: the load commands of this server.
        metrics: counts loads and models.
        watch_seconds: the time between two scans; 0 scans only at the start and for load commands.
        max_versions: the number of versions of a model to serve.

    Attributes:
        root: the folder.
        registry: the models in service.
        watches: whether the folder is scanned regularly.
        spread_seconds: how long a command waits for the other processes.
        state: the state of the catalog.
        lock: held while the state changes.
        new_commands: the commands that were not taken yet.
        problem: why the folder cannot be scanned; empty if it can.
        loading: the name and version that is being loaded.
        starting: whether the server has not started yet. Until then a missing device ends the server.

    """

    def __init__(
        self,
        root: Path,
        registry: Registry,
        load: Callable[[Path], ServedModel],
        networks: Networks,
        commands: LoadCommands,
        metrics: Metrics,
        *,
        watch_seconds: float,
        max_versions: int,
    ) -> None:
        self.root = root
        self.registry = registry
        self._load_bundle = load
        self._networks = networks
        self._commands = commands
        self._metrics = metrics
        self._watch_seconds = watch_seconds
        self._next_scan = 0.0
        self._identity = (0, 0)
        self._load_counts = dict(commands.read().load_counts)
        self._pending: list[PendingCommand] = []
        self.state = CatalogState(max_versions)
        self.new_commands: SimpleQueue[PendingCommand] = SimpleQueue()
        self.lock = threading.Lock()
        self.problem = ""
        self.loading: tuple[str, int] | None = None
        self.starting = True

    @property
    def watches(self) -> bool:
        """Whether the folder is scanned regularly."""
        return self._watch_seconds > 0

    @property
    def spread_seconds(self) -> float:
        """How long a command waits for the other processes of this server."""
        return self._commands.spread_seconds

    def step(self) -> bool:
        """Run one step, and return whether another one should follow at once."""
        self._take_commands()
        if self.watches and time.monotonic() >= self._next_scan:
            self.scan()
        to_load = self._serve_loaded_models()
        self._finish_commands({name for name, _ in to_load})
        if to_load:
            self._load(*to_load[0])
        return bool(to_load)

    def seconds_to_wait(self) -> float | None:
        """Return the seconds until the next step is due; None if only a command of this process makes one due."""
        scan = max(0.0, self._next_scan - time.monotonic()) if self.watches else None
        return min((seconds for seconds in (scan, self._commands.poll_seconds) if seconds is not None), default=None)

    def scan(self, only: Collection[str] | None = None) -> None:
        """Scan the folder for all names, or for some. If it cannot be scanned, the models in service stay there."""
        self._next_scan = time.monotonic() + self._watch_seconds
        try:
            seen = scan(self.root)
        except OSError as error:
            self._report_problem(f"the models folder {self.root} cannot be read: {error.strerror}")
            return
        is_another = self._identity not in ((0, 0), seen.identity)
        if is_another and not any(seen.models.values()) and any(self.registry):
            self._report_problem(
                f"the models folder {self.root} was replaced by an empty one; is a file system missing?"
            )
            return
        if self.problem:
            log.warning("the models folder %s is available again", self.root)
        self._identity = seen.identity
        self.problem = ""
        with self.lock:
            new = self.state.record_scan(seen, time.time(), only)
        for refusal in new[:MAX_LOGGED]:
            log.warning("%s in the models folder is ignored: %s", _path(refusal), refusal.reason)
        if len(new) > MAX_LOGGED:
            log.warning("and %d more; GET /v1/models lists them", len(new) - MAX_LOGGED)

    def fail_commands(self, error: Exception) -> None:
        """Finish the commands that were taken with an error."""
        for command in self._pending:
            _finish(command, error)
        self._pending = []

    def _report_problem(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("%s; the models in service stay there", problem)
        self.problem = problem

    def _take_commands(self) -> None:
        """Take the new commands of this and other processes, and scan for the models that should be loaded."""
        while not self.new_commands.empty():
            command = self.new_commands.get()
            exists = NAME_PATTERN.fullmatch(command.name) and os.path.lexists(self.root / command.name)
            if not exists and command.load and not self.root.is_dir():
                _finish(command, ModelLoadError(f"the models folder {self.root} does not exist at present"))
            elif not exists and (command.load or not self.registry.versions_of(command.name)):
                names = ", ".join(self.state.names()) or "none"
                _finish(command, UnknownModelError(f"there is no model {command.name[:64]!r}; there are: {names}"))
            else:
                self._pending.append(command)
                if command.load:
                    self._commands.load(command.name)
                else:
                    self._commands.unload(command.name)
        commands = self._commands.read()
        to_load = {name for name, count in commands.load_counts.items() if count != self._load_counts.get(name, 0)}
        self._load_counts = dict(commands.load_counts)
        with self.lock:
            self.state.unloaded = commands.unloaded
            for name in to_load:
                self.state.try_again(name)
        if to_load:
            self.scan(None if self.watches else to_load)

    def _serve_loaded_models(self) -> list[tuple[str, int]]:
        """Serve each model whose versions are loaded, and return the versions to load, commanded ones first."""
        to_load = []
        for name in self.state.names():
            next_step = self.state.plan(name)
            if next_step.load is None:
                self._serve(name, next_step.serve)
            else:
                to_load.append((name, next_step.load))
        commanded = {command.name for command in self._pending}
        return sorted(to_load, key=lambda version: (version[0] not in commanded, version))

    def _serve(self, name: str, versions: Collection[int]) -> None:
        """Serve exactly these versions of a model. A version that is replaced is freed after its last image."""
        with self.lock:
            new = self.state.keep_only(name, versions)
        old = self.registry.versions_of(name)
        if new == old:
            return
        for replaced in set(old) - set(new):
            weakref.finalize(replaced, _log_freed, name, replaced.version, time.perf_counter()).atexit = False
        self._networks.swap(old, new, lambda: self.registry.replace(name, new))
        self._metrics.models.set(len(list(self.registry)))
        now = f"version {', '.join(map(str, versions))} is in service" if new else "is out of service"
        log.info("model %s: %s; before: %s", name, now, ", ".join(str(served.version) for served in old) or "none")

    def _load(self, name: str, version: int) -> None:
        """Load one bundle; the next step puts the model in service if it is good."""
        folder = self.root / name / str(version)
        self.loading = (name, version)
        for _ in range(MAX_READS):
            before = fingerprint(folder)
            served, reason = self._load_or_refuse(folder)
            if fingerprint(folder) == before:
                break
            served = None
            reason = f"bundle {name}/{version}: its files change while they are read"
        with self.lock:
            self.loading = None
            if served is not None:
                self.state.add_loaded(name, version, before, served)
            else:
                self.state.add_refused(name, version, before, reason, time.time())
        self._metrics.model_loads.labels(name, "refused" if served is None else "loaded").inc()
        if served is None:
            log.warning("model %s version %d is refused: %s", name, version, reason)

    def _load_or_refuse(self, folder: Path) -> tuple[ServedModel | None, str]:
        """Return the model, or None and the reason."""
        bundle = f"bundle {folder.parent.name}/{folder.name}"
        try:
            with suppress(FileNotFoundError):  # the loader says more about it
                folder.stat()
            return self._load_bundle(folder), ""
        except (BundleError, EngineError) as error:
            if self.starting and isinstance(error, DeviceError):
                raise
            return None, str(error)
        except OSError as error:
            return None, f"{bundle}: cannot be read: {error.strerror}"
        except Exception:
            log.exception("%s cannot be loaded", bundle)
            return None, f"{bundle}: loading it failed unexpectedly; the server's log has the details"

    def _finish_commands(self, to_load: Collection[str]) -> None:
        """Finish the commands whose model needs no more loading."""
        for command in self._pending:
            if not command.load or command.name not in to_load:
                _finish(command, self._load_error(command.name) if command.load else None)
        self._pending = [command for command in self._pending if command.load and command.name in to_load]

    def _load_error(self, name: str) -> ModelLoadError | None:
        """Return why the highest version of a model is not in service, or None if it is."""
        served = self.registry.versions_of(name)
        highest = served[-1].version if served else 0
        bad = [refusal for refusal in self.state.refusals() if refusal.name == name]
        higher = [refusal for refusal in bad if isinstance(refusal.version, int) and refusal.version >= highest]
        if served and not higher:
            return None
        if name in self.state.unloaded:
            return ModelLoadError(f"{name} was unloaded meanwhile")
        reason = self.problem or next((refusal.reason for refusal in [*higher[::-1], *bad]), "it has no versions")
        after = f"version {highest} stays in service" if served else "no version of it is in service"
        return ModelLoadError(f"{reason}; {after}")


def _finish(command: PendingCommand, error: Exception | None) -> None:
    with suppress(InvalidStateError):  # the request was cancelled
        if error is None:
            command.done.set_result(None)
        else:
            command.done.set_exception(error)


def _path(refusal: Refusal) -> str:
    return refusal.name if refusal.version is None else f"{refusal.name}/{refusal.version}"


def _log_freed(name: str, version: int, since: float) -> None:
    seconds = time.perf_counter() - since
    log.info("model %s version %d is freed, %.2f s after it went out of service", name, version, seconds)
