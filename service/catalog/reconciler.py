"""Keeps the registry as the models folder and the orders want it, one turn after the other.

A turn: take orders, look at the folder if that is due, put in service whatever has all it needs, load at most one
bundle. Turns follow one another until nothing is left to do; `catalog.py` is the thread that makes them.
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
ATTEMPTS = 5  # at reading a folder that changes meanwhile
MAX_LOGGED = 20  # strange folders, of one look


class PendingCommand(NamedTuple):
    """What somebody waits for: a model in service, or out of it."""

    name: str
    load: bool
    done: "Future[None]"


class Reconciler:
    """See above; for one thread at a time, but what it says of the shelf may be asked from any.

    Args:
        root: the folder of NAME/VERSION bundles.
        registry: where models are put in service.
        load: folder of a bundle -> model, warmed up.
        networks: told which networks come into service.
        orders: which models are kept out by hand.
        metrics: where loads and models are counted.
        watch_seconds: between two looks at the folder; 0: only at what is asked for.
        shelf: what is known of the folder.

    Attributes:
        new: orders that were not taken yet.
        lock: held while the shelf changes.
        trouble: why the folder cannot be looked at, as a sentence.
        starting: the server is not there yet: where nothing can run for want of a device, it need not start.

    """

    def __init__(
        self,
        root: Path,
        registry: Registry,
        load: Callable[[Path], ServedModel],
        networks: Networks,
        orders: LoadCommands,
        metrics: Metrics,
        *,
        watch_seconds: float,
        shelf: CatalogState,
    ) -> None:
        self._root = root
        self._registry = registry
        self._load_bundle = load
        self._networks = networks
        self._orders = orders
        self._metrics = metrics
        self._watch_seconds = watch_seconds
        self._state = shelf
        self._next_look = 0.0
        self._identity = (0, 0)
        self._asked = dict(orders.standing().asked)
        self._waiting: list[PendingCommand] = []
        self.new: SimpleQueue[PendingCommand] = SimpleQueue()
        self.lock = threading.Lock()
        self.trouble = ""
        self.loading: tuple[str, int] | None = None
        self.starting = True

    def turn(self) -> bool:
        """Do what there is to do, one bundle's loading at most; return whether there is more to do at once."""
        self._take_orders()
        if self._watch_seconds and time.monotonic() >= self._next_look:
            self.look()
        pending = self._serve_what_is_loaded()
        self._answer_orders({name for name, _ in pending})
        if pending:
            self._load(*pending[0])
        return bool(pending)

    def seconds_to_wait(self) -> float | None:
        """Return how long nothing is to be done unless somebody orders something; None: for ever."""
        look = max(0.0, self._next_look - time.monotonic()) if self._watch_seconds else None
        return min((each for each in (look, self._orders.look_seconds) if each is not None), default=None)

    def look(self, only: Collection[str] | None = None) -> None:
        """Look at the folder, at all names or at a few. Where it cannot be looked at, what runs goes on running."""
        self._next_look = time.monotonic() + self._watch_seconds
        try:
            seen = scan(self._root)
        except OSError as error:
            self._in_trouble(f"the models folder {self._root} cannot be read: {error.strerror}")
            return
        is_another = self._identity not in ((0, 0), seen.identity)
        if is_another and not any(seen.models.values()) and any(self._registry):
            self._in_trouble(
                f"an empty folder has taken the place of the models folder {self._root}; is a file system not mounted?"
            )
            return
        if self.trouble:
            log.warning("the models folder %s is there again", self._root)
        self._identity = seen.identity
        self.trouble = ""
        with self.lock:
            strange = self._state.see(seen, time.time(), only)
        for each in strange[:MAX_LOGGED]:
            log.warning("%s in the models folder is passed over: %s", _path(each), each.reason)
        if len(strange) > MAX_LOGGED:
            log.warning("and %d more; GET /v1/models lists them", len(strange) - MAX_LOGGED)

    def fail_orders(self, error: Exception) -> None:
        """Tell those whose orders were taken that nothing will come of it."""
        for order in self._waiting:
            _finish(order, error)
        self._waiting = []

    def _in_trouble(self, what: str) -> None:
        if what != self.trouble:
            log.warning("%s; what runs goes on running", what)
        self.trouble = what

    def _take_orders(self) -> None:
        """Take note of new orders, of this process and of others; look at once at what was asked for."""
        while not self.new.empty():
            order = self.new.get()
            is_there = NAME_PATTERN.fullmatch(order.name) and os.path.lexists(self._root / order.name)
            if not is_there and order.load and not self._root.is_dir():
                _finish(order, ModelLoadError(f"there is no folder {self._root} at present"))
            elif not is_there and (order.load or not self._registry.versions_of(order.name)):
                there = ", ".join(self._state.names()) or "none"
                _finish(order, UnknownModelError(f"there is no model {order.name[:64]!r}; there are: {there}"))
            else:
                self._waiting.append(order)
                (self._orders.load if order.load else self._orders.unload)(order.name)
        standing = self._orders.standing()
        asked = {name for name, times in standing.asked.items() if times != self._asked.get(name, 0)}
        self._asked = dict(standing.asked)
        with self.lock:
            self._state.kept_out = standing.kept_out
            for name in asked:
                self._state.forgive(name)
        if asked:
            self.look(None if self._watch_seconds else asked)

    def _serve_what_is_loaded(self) -> list[tuple[str, int]]:
        """Put in service what has all it needs; return what is to be loaded, first what somebody waits for."""
        pending = []
        for name in self._state.names():
            todo = self._state.plan(name)
            if todo.load is None:
                self._put(name, todo.serve)
            else:
                pending.append((name, todo.load))
        wanted = {order.name for order in self._waiting}
        return sorted(pending, key=lambda each: (each[0] not in wanted, each))

    def _put(self, name: str, versions: Collection[int]) -> None:
        """Let exactly these versions be served from now on; those they replace end with their last image."""
        with self.lock:
            new = self._state.keep(name, versions)
        old = self._registry.versions_of(name)
        if new == old:
            return
        for gone in set(old) - set(new):
            weakref.finalize(gone, _say_freed, name, gone.version, time.perf_counter()).atexit = False
        self._networks.swap(old, new, lambda: self._registry.replace(name, new))
        self._metrics.models.set(len(list(self._registry)))
        now = f"version {', '.join(map(str, versions))} is in service" if new else "is out of service"
        log.info("model %s: %s; before: %s", name, now, ", ".join(str(each.version) for each in old) or "none")

    def _load(self, name: str, version: int) -> None:
        """Load one bundle; what comes of it is put in service, or not, in the next turn."""
        folder = self._root / name / str(version)
        self.loading = (name, version)
        for _ in range(ATTEMPTS):
            mark = fingerprint(folder)
            served, reason = self._try(folder)
            if fingerprint(folder) == mark:
                break
            served = None
            reason = f"bundle {name}/{version}: its files change while they are read"
        with self.lock:
            self.loading = None
            if served is not None:
                self._state.add(name, version, mark, served)
            else:
                self._state.refuse(name, version, mark, reason, time.time())
        self._metrics.model_loads.labels(name, "refused" if served is None else "loaded").inc()
        if served is None:
            log.warning("model %s version %d is refused: %s", name, version, reason)

    def _try(self, folder: Path) -> tuple[ServedModel | None, str]:
        """Return the model, or why there is none."""
        who = f"bundle {folder.parent.name}/{folder.name}"
        try:
            folder.stat()
            return self._load_bundle(folder), ""
        except (BundleError, EngineError) as error:
            if self.starting and isinstance(error, DeviceError):
                raise
            return None, str(error)
        except OSError as error:
            return None, f"{who}: cannot be read: {error.strerror}"
        except Exception:
            log.exception("%s cannot be loaded", who)
            return None, f"{who}: loading it failed in a way nobody expected; the log has more"

    def _answer_orders(self, loading: Collection[str]) -> None:
        """Answer those whose model is as they want it, or will not be."""
        for order in self._waiting:
            if not order.load or order.name not in loading:
                _finish(order, self._why_not(order.name) if order.load else None)
        self._waiting = [order for order in self._waiting if order.load and order.name in loading]

    def _why_not(self, name: str) -> ModelLoadError | None:
        """Return why a model that was asked for is not served in its highest version, or None where it is."""
        running = self._registry.versions_of(name)
        highest = running[-1].version if running else 0
        bad = [each for each in self._state.refusals() if each.name == name]
        better = [each for each in bad if isinstance(each.version, int) and each.version >= highest]
        if running and not better:
            return None
        if name in self._state.kept_out:
            return ModelLoadError(f"{name} was unloaded meanwhile")
        reason = self.trouble or next((each.reason for each in [*better[::-1], *bad]), "there is no version of it")
        after = f"version {highest} goes on being served" if running else "nothing of it is served"
        return ModelLoadError(f"{reason}; {after}")


def _finish(order: PendingCommand, error: Exception | None) -> None:
    with suppress(InvalidStateError):  # who waited has left
        if error is None:
            order.done.set_result(None)
        else:
            order.done.set_exception(error)


def _path(refusal: Refusal) -> str:
    return refusal.name if refusal.version is None else f"{refusal.name}/{refusal.version}"


def _say_freed(name: str, version: int, since: float) -> None:
    seconds = time.perf_counter() - since
    log.info("model %s version %d is freed, %.2f s after it went out of service", name, version, seconds)
