"""Loads models while Python imports the rest of the service.

Reading and running a graph needs no interpreter, so both go on at the same time; otherwise a third of the start-up time
would be added after the imports. A preloaded model is handed out once, and only if its folder has not changed. Every
other folder is loaded on request.
"""

import threading
from collections.abc import Callable
from pathlib import Path

from service.catalog.scan import Fingerprint, fingerprint, scan
from service.inference.registry import ServedModel

__all__ = ["Preloader"]

Load = Callable[[Path], ServedModel]


class Preloader:
    """Loads the highest version of each model in a thread, from its construction on. Call it like a load function.

    Args:
        root: the folder of NAME/VERSION bundles.
        load: folder of a bundle -> model, warmed up.

    """

    def __init__(self, root: Path, load: Load) -> None:
        self._root = root
        self._load = load
        self._loaded: dict[Path, tuple[Fingerprint, ServedModel]] = {}
        self._thread = threading.Thread(target=self._load_all, name="preload", daemon=True)
        self._thread.start()

    def __call__(self, folder: Path) -> ServedModel:
        """Return the model of a folder.

        Raises:
            models.errors.BundleError, engines.base.EngineError: the bundle cannot be loaded.

        """
        self._thread.join()
        before, served = self._loaded.pop(folder, (None, None))
        return served if served is not None and before == fingerprint(folder) else self._load(folder)

    def _load_all(self) -> None:
        try:
            found = scan(self._root).models
        except OSError:  # the catalog reports it
            return
        for name, versions in found.items():
            folder = self._root / name / str(max(versions, default=0))
            try:
                self._loaded[folder] = fingerprint(folder), self._load(folder)
            except Exception:  # noqa: BLE001, S112  it fails again on request, and is reported then
                continue
