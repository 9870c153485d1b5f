"""The catalog of models: one thread scans the models folder, loads bundles and replaces models, while requests go on.

A request takes a model from the registry and keeps it until it is answered. A replacement is one atomic step: earlier
requests finish with the old version, later ones get the new version, and the old version's memory is freed after its
last image. A refused bundle replaces nothing. It is listed with the reason, and tried again when its files change. If
the whole folder becomes unavailable, the models in service stay there.

`reconciler.py` has the steps of the thread.
"""

import asyncio
import logging
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from engines.base import EngineError
from models.repository import check_repository
from models.sentences import first_few
from service.catalog.reconciler import PendingCommand, Reconciler
from service.catalog.state import CatalogEntry, Refusal
from service.errors import NotReadyError
from service.repeating import Repeating

__all__ = ["Catalog", "CatalogEntry", "Refusal"]

log = logging.getLogger("longtail.catalog")
MAX_REASONS = 3


class Catalog:
    """The models folder and the models that are served from it.

    Args:
        reconciler: brings the registry in line with the folder.

    """

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler
        self._thread = Repeating(
            "catalog", self._step, failure="the models folder is not watched; the models in service stay there"
        )

    def load_all(self) -> None:
        """Load the models in the folder, before the server starts.

        Raises:
            models.errors.BundleError: the folder does not exist, or is a bundle itself.
            DeviceError: the device in the settings is not available.
            EngineError: there is no model to serve, and the folder is not watched.

        """
        reconciler = self._reconciler
        check_repository(reconciler.root)
        reconciler.scan()
        while reconciler.step():
            pass
        reconciler.starting = False
        if any(reconciler.registry):
            return
        why = self.why_no_model()
        if not reconciler.watches:
            raise EngineError(
                f"{reconciler.root}: {why}; export a bundle to NAME/VERSION there, or set LONGTAIL_MODELS"
            )
        log.warning("%s: %s; the server is not ready until there is a good one", reconciler.root, why)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, waiting at most five seconds for a load in progress."""
        self._thread.close()
        self._refuse_commands()

    async def load(self, name: str) -> None:
        """Load the highest version of a model, and return once every healthy process serves it.

        Raises:
            UnknownModelError: the folder has no such model.
            ModelLoadError: the version is refused; the versions in service stay there.

        """
        await self._run_command(name, load=True)

    async def unload(self, name: str) -> None:
        """Take a model out of service until it is loaded again, and return once no healthy process serves it.

        Raises:
            UnknownModelError: there is no such model in the folder or in service.

        """
        await self._run_command(name, load=False)

    def index(self) -> list[CatalogEntry]:
        """Return every version in the folder or in service with its state."""
        registry = self._reconciler.registry
        models = [registry.versions_of(served.name) for served in registry]
        in_service = {versions[0].name: [served.version for served in versions] for versions in models if versions}
        with self._reconciler.lock:
            return self._reconciler.state.entries(in_service, self._reconciler.loading)

    def refused(self) -> tuple[Refusal, ...]:
        """Return everything in the folder that is refused, with reasons, sorted."""
        with self._reconciler.lock:
            return self._reconciler.state.refusals()

    def versions_in_folder(self, name: str) -> list[int]:
        """Return the versions in a model's folder, good or bad."""
        with self._reconciler.lock:
            return self._reconciler.state.versions_in_folder(name)

    def why_no_model(self) -> str:
        """Return why no model is in service, as a sentence."""
        with self._reconciler.lock:
            unloaded = [f"{name} is unloaded" for name in sorted(self._reconciler.state.unloaded)]
        problem = [self._reconciler.problem] if self._reconciler.problem else []
        reasons = [*problem, *(refusal.reason for refusal in self.refused()), *unloaded]
        if not reasons:
            return "no model is loaded yet: the models folder has no bundles at NAME/VERSION"
        return f"no model is loaded yet: {first_few(reasons, MAX_REASONS, separator='; ')}"

    async def _run_command(self, name: str, *, load: bool) -> None:
        done: Future[None] = Future()
        self._reconciler.new_commands.put(PendingCommand(name, load, done))
        self._thread.wake()
        if self._thread.closing:
            self._refuse_commands()
        await asyncio.wrap_future(done)
        await asyncio.sleep(self._reconciler.spread_seconds)

    def _refuse_commands(self) -> None:
        error = NotReadyError("the server is shutting down; try another one, or again in a moment")
        while not self._reconciler.new_commands.empty():
            with suppress(InvalidStateError):  # the request was cancelled
                self._reconciler.new_commands.get().done.set_exception(error)
        self._reconciler.fail_commands(error)

    def _step(self) -> float | None:
        """Run one step of the reconciler, and return the seconds until the next."""
        try:
            more = self._reconciler.step()
        except Exception as error:
            self._reconciler.fail_commands(error)
            raise
        return 0.0 if more else self._reconciler.seconds_to_wait()
