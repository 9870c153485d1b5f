"""Loads models while Python is still importing the rest: reading a graph and running it need no interpreter.

A third of the time it takes to start would else be spent after everything is imported. What is loaded ahead is handed
out once, and only while its folder is as it was; anything else is loaded when it is asked for.
"""

import threading
from collections.abc import Callable
from pathlib import Path

from service.catalog.scan import Fingerprint, fingerprint, scan
from service.inference.registry import ServedModel

__all__ = ["Preloader"]

Load = Callable[[Path], ServedModel]


class Preloader:
    """The highest version of each model in a folder, being loaded in a thread from now on; itself a way to load.

    Args:
        root: the folder of NAME/VERSION bundles.
        load: folder of a bundle -> model, warmed up.

    """

    def __init__(self, root: Path, load: Load) -> None:
        self._root = root
        self._load = load
        self._loaded: dict[Path, tuple[Fingerprint, ServedModel]] = {}
        self._thread = threading.Thread(target=self._load_all, name="load-ahead", daemon=True)
        self._thread.start()

    def __call__(self, folder: Path) -> ServedModel:
        """Return the model of a folder.

        Raises:
            models.errors.BundleError, engines.base.EngineError: as of loading it.

        """
        self._thread.join()
        before, served = self._loaded.pop(folder, (None, None))
        return served if served is not None and before == fingerprint(folder) else self._load(folder)

    def _load_all(self) -> None:
        try:
            found = scan(self._root).models
        except OSError:  # who looks next says so
            return
        for name, versions in found.items():
            folder = self._root / name / str(max(versions, default=0))
            try:
                self._loaded[folder] = fingerprint(folder), self._load(folder)
            except Exception:  # noqa: BLE001, S112  it fails again when it is asked for, and is reported then
                continue
