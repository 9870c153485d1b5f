"""Models that come and go while requests are answered: one thread looks at the folder, loads, swaps and lets go.

A request takes a model from the registry and keeps it until it is answered. So a swap is one step that nobody notices:
who came before it finishes with the old version, who comes after it gets the new one, and the old one's memory is free
when the last of its images is done. What is refused replaces nothing: it is listed with the reason, and looked at again
when its files change. Where the whole folder goes away, all that runs goes on running.

What a turn of the thread does is in `repository/keeper.py`.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from pathlib import Path

from engines.base import EngineError
from models.bundle import check_repository
from service.catalog.load_commands import LoadCommands
from service.catalog.networks import Networks
from service.catalog.reconciler import PendingCommand, Reconciler
from service.catalog.state import CatalogEntry, CatalogState, Refusal
from service.errors import NotReadyError
from service.inference.registry import Registry, ServedModel
from service.metrics import Metrics

__all__ = ["Catalog", "CatalogEntry", "Refusal"]

log = logging.getLogger("longtail.catalog")
CLOSE_SECONDS = 5.0
MAX_REASONS = 3


class Catalog:
    """The models folder, and what of it is served.

    Args:
        root: the folder of NAME/VERSION bundles.
        registry: where models are put in service.
        load: folder of a bundle -> model, warmed up.
        networks: told which networks come into service.
        orders: which models are kept out by hand.
        metrics: where loads and models are counted.
        watch_seconds: between two looks at the folder; 0: only at start, and at what is asked for.
        serve_versions: how many of a model's highest good versions are served.

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
        serve_versions: int,
    ) -> None:
        self._root = root
        self._registry = registry
        self._orders = orders
        self._watch_seconds = watch_seconds
        self._state = CatalogState(serve_versions)
        self._keeper = Reconciler(
            root, registry, load, networks, orders, metrics, watch_seconds=watch_seconds, shelf=self._state
        )
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="catalog", daemon=True)

    def load_all(self) -> None:
        """Load what lies in the folder, before the server starts.

        Raises:
            models.errors.BundleError: there is no such folder, or it is a bundle itself.
            DeviceError: nothing can be run as asked for.
            EngineError: there is nothing to serve, and nobody watches whether something comes.

        """
        check_repository(self._root)
        self._keeper.look()
        while self._keeper.turn():
            pass
        self._keeper.starting = False
        if any(self._registry):
            return
        why = self.why_none()
        if not self._watch_seconds:
            raise EngineError(f"{self._root}: {why}; export a bundle to NAME/VERSION there, or set LONGTAIL_MODELS")
        log.warning("%s: %s; the server is not ready until a good one comes", self._root, why)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End it; a bundle that is being loaded is not waited for for long."""
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)
        self._refuse_orders()

    async def load(self, name: str) -> None:
        """Have the highest version of a model served; return once it is, in every healthy process.

        Raises:
            UnknownModelError: nothing of that name lies in the folder.
            ModelLoadError: it is refused; what was served before is still.

        """
        await self._order(name, load=True)

    async def unload(self, name: str) -> None:
        """Keep a model out of service until it is asked for; return once no healthy process takes requests for it.

        Raises:
            UnknownModelError: there is none of that name, neither in the folder nor in service.

        """
        await self._order(name, load=False)

    def index(self) -> list[CatalogEntry]:
        """Return every version in the folder or in service, and how it stands."""
        models = [self._registry.versions_of(served.name) for served in self._registry]
        running = {versions[0].name: [each.version for each in versions] for versions in models if versions}
        with self._keeper.lock:
            return self._state.entries(running, self._keeper.loading)

    def refused(self) -> tuple[Refusal, ...]:
        """Return what lies in the folder and is not served, with reasons; sorted."""
        with self._keeper.lock:
            return self._state.refusals()

    def versions_in_folder(self, name: str) -> list[int]:
        """Return the versions of a model that lie in the folder, good or bad."""
        with self._keeper.lock:
            return self._state.versions_in_folder(name)

    def why_none(self) -> str:
        """Say why no model is in service."""
        with self._keeper.lock:
            kept_out = [f"{name} is unloaded" for name in sorted(self._state.kept_out)]
        trouble = [self._keeper.trouble] if self._keeper.trouble else []
        reasons = [*trouble, *(each.reason for each in self.refused()), *kept_out]
        more = [f"and {len(reasons) - MAX_REASONS} more"] if len(reasons) > MAX_REASONS else []
        return f"no model is loaded yet: {'; '.join(reasons[:MAX_REASONS] + more) or 'no bundles (NAME/VERSION) here'}"

    async def _order(self, name: str, *, load: bool) -> None:
        done: Future[None] = Future()
        self._keeper.new.put(PendingCommand(name, load, done))
        self._wake.set()
        if self._closing:
            self._refuse_orders()
        await asyncio.wrap_future(done)
        await asyncio.sleep(self._orders.spread_seconds)

    def _refuse_orders(self) -> None:
        error = NotReadyError("the server is shutting down; try another one, or again in a moment")
        while not self._keeper.new.empty():
            with suppress(InvalidStateError):  # who waited has left
                self._keeper.new.get().done.set_exception(error)
        self._keeper.fail_orders(error)

    def _serve(self) -> None:
        in_trouble = False
        while not self._closing:
            self._wake.clear()
            try:
                more = self._keeper.turn()
                in_trouble = False
            except Exception as error:
                if not in_trouble:
                    log.exception("the models folder is not watched, what runs goes on running")
                more = False
                in_trouble = True
                self._keeper.fail_orders(error)
            if not more:
                self._wake.wait(self._keeper.seconds_to_wait())
