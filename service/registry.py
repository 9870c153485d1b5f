"""The models this server has: bundles found in the models folder, each with an engine, warmed up."""

import itertools
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from models.bundle import Bundle, find_bundles, load_bundle
from service.engines.base import Engine, EngineError, EngineFactory
from service.errors import UnknownModelError, UnknownVersionError
from service.statistics import ModelStatistics

__all__ = ["Registry", "ServedModel", "load_registry"]

log = logging.getLogger("longtail.registry")


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version of a model in service; its identity is the instance: a bundle loaded again is another one.

    Args:
        bundle: what it is.
        engine: what runs it, warmed up.
        max_batch_images: the most images it is worth computing at once, see warm_up.py.
        number: no other one in this process has it; what is cached of a model is cached under this.
        statistics: what it has done so far.
    """

    bundle: Bundle
    engine: Engine
    max_batch_images: int
    number: int = field(default_factory=itertools.count().__next__)
    statistics: ModelStatistics = field(default_factory=ModelStatistics)

    @property
    def name(self) -> str:
        """The name in the URL."""
        return self.bundle.manifest.name

    @property
    def version(self) -> int:
        """The version beside it."""
        return self.bundle.manifest.version

    @cached_property
    def class_indices(self) -> dict[str, int]:
        """Class name -> index."""
        return {each.name: index for index, each in enumerate(self.bundle.manifest.classes)}


class Registry:
    """The models in service, by name and version.

    Readers, in any thread, read one snapshot that never changes; a writer puts another in its place. Who has a model
    keeps it until done with it, whether or not it is still in the registry.
    """

    def __init__(self, models: Iterable[ServedModel] = ()) -> None:
        self._models: Mapping[str, tuple[ServedModel, ...]] = {}
        self._writing = threading.Lock()
        for model in models:
            self.replace(model.name, [*self.versions_of(model.name), model])

    def __iter__(self) -> Iterator[ServedModel]:
        """Go through the models by name: the highest version of each."""
        models = self._models
        return iter([models[name][-1] for name in sorted(models)])

    def get(self, name: str, version: int | None = None) -> ServedModel:
        """Return a model: the version asked for, or its highest.

        Raises:
            UnknownModelError: there is none of that name; the sentence lists those there are.
            UnknownVersionError: there is, but not in that version.
        """
        models = self._models
        versions = models.get(name)
        if versions is None:
            there = ", ".join(sorted(models)) or "none at present"
            raise UnknownModelError(f"there is no model {name[:64]!r}; there are: {there}")
        if version is None:
            return versions[-1]
        for served in versions:
            if served.version == version:
                return served
        there = ", ".join(str(served.version) for served in versions)
        raise UnknownVersionError(f"version {version} of {name} is not in service; there are: {there}")

    def versions_of(self, name: str) -> tuple[ServedModel, ...]:
        """Return the versions of a model, ascending; none where there is no such model."""
        return self._models.get(name, ())

    def replace(self, name: str, versions: Iterable[ServedModel]) -> None:
        """Let these be the versions of a model from now on, in one step; with none the model is gone."""
        wanted = tuple(sorted(versions, key=lambda served: served.version))
        with self._writing:
            others = {each: served for each, served in self._models.items() if each != name}
            self._models = others | {name: wanted} if wanted else others


def load_registry(root: Path, make_engine: EngineFactory, *, warm_up_images: int) -> Registry:
    """Load the highest version of every model under `root`, and run batches of one and of the largest size.

    Raises:
        models.errors.BundleError: a bundle is refused.
        EngineError: no bundle there, or one that does not run.
    """
    versions: dict[str, list[int]] = {}
    for path in find_bundles(root):
        versions.setdefault(path.parent.name, []).append(int(path.name))
    if not versions:
        raise EngineError(f"{root}: no bundles (NAME/VERSION folders) here; export one, or set LONGTAIL_MODELS")
    served = []
    for name, numbers in versions.items():
        bundle = load_bundle(root / name / str(max(numbers)))
        engine = make_engine(bundle)
        for size in sorted({1, warm_up_images}):
            _warm_up(bundle, engine, size)
        served.append(ServedModel(bundle, engine, warm_up_images))
        log.info("model %s version %d is ready: %s", name, max(numbers), engine.description)
    return Registry(served)


def _warm_up(bundle: Bundle, engine: Engine, images: int) -> None:
    manifest = bundle.manifest
    grey = np.full((images, manifest.input.height, manifest.input.width, 3), 128, np.uint8)
    who = f"bundle {manifest.name}/{manifest.version}"
    try:
        logits, head_cosine = engine.run(grey)
    except Exception as error:
        raise EngineError(f"{who}: the graph fails on a batch of {images} grey pictures: {error}") from error
    expected = (images, len(manifest.classes)), (images, manifest.num_heads)
    if (logits.shape, head_cosine.shape) != expected:
        raise EngineError(
            f"{who}: a batch of {images} gives {logits.shape} and {head_cosine.shape}, expected {expected}"
        )
    if not (np.isfinite(logits).all() and np.isfinite(head_cosine).all()):
        raise EngineError(f"{who}: the graph gives numbers that are not finite on a grey picture")
