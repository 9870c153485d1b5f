"""The models this server has: bundles found in the models folder, each with an engine, warmed up."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from models.bundle import Bundle, find_bundles, load_bundle
from service.engines.base import Engine, EngineError, EngineFactory
from service.errors import UnknownModelError

__all__ = ["Registry", "ServedModel", "load_registry"]

log = logging.getLogger("longtail.registry")


@dataclass(frozen=True)
class ServedModel:
    """One model in service: its bundle, what runs it, and which versions lie beside it."""

    bundle: Bundle
    engine: Engine
    versions: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name in the URL."""
        return self.bundle.manifest.name

    @cached_property
    def class_indices(self) -> dict[str, int]:
        """Class name -> index."""
        return {each.name: index for index, each in enumerate(self.bundle.manifest.classes)}


class Registry:
    """The served models by name."""

    def __init__(self, models: list[ServedModel]) -> None:
        self._models = {model.name: model for model in models}

    def __iter__(self) -> Iterator[ServedModel]:
        """Go through the models by name."""
        return iter(self._models[name] for name in sorted(self._models))

    def get(self, name: str) -> ServedModel:
        """Return a model.

        Raises:
            UnknownModelError: there is none of that name; the sentence lists those there are.
        """
        if name not in self._models:
            raise UnknownModelError(f"there is no model {name[:64]!r}; there are: {', '.join(sorted(self._models))}")
        return self._models[name]


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
        served.append(ServedModel(bundle, engine, tuple(sorted(numbers))))
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
