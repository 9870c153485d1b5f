"""The models in service: bundles, each with an engine that is warmed up. The catalog decides which they are."""

import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import orjson

from engines.base import Engine
from models.bundle import Bundle
from models.class_names import ClassIndices
from service.errors import UnknownModelError, UnknownVersionError
from service.inference.batching import BatchPolicy
from service.inference.model_statistics import ModelStatistics

__all__ = ["Registry", "ServedModel"]


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version of a model in service. Instances are compared by identity, so a bundle loaded again is another model.

    Args:
        bundle: the loaded bundle.
        engine: runs the bundle's network, and is warmed up.
        batch_policy: how its pictures are batched.
        number: unique in this process; part of the key under which its outputs are cached.
        statistics: what it has done so far.

    """

    bundle: Bundle
    engine: Engine
    batch_policy: BatchPolicy
    number: int = field(default_factory=itertools.count().__next__)
    statistics: ModelStatistics = field(default_factory=ModelStatistics)

    @property
    def name(self) -> str:
        """The model's name in URLs."""
        return self.bundle.manifest.name

    @property
    def version(self) -> int:
        """The model's version in URLs."""
        return self.bundle.manifest.version

    @cached_property
    def classes_as_json(self) -> tuple[list[str], list[str]]:
        """The JSON of each class in an answer that precedes its probability, and the JSON that follows its logit."""
        classes = self.bundle.manifest.classes
        before = [
            f'{{"index":{index},"name":{orjson.dumps(info.name).decode()},"probability":'
            for index, info in enumerate(classes)
        ]
        return before, [f',"group":"{info.group}"}}' for info in classes]

    @cached_property
    def class_indices(self) -> ClassIndices:
        """Class name, in any form, -> index."""
        return ClassIndices([info.name for info in self.bundle.manifest.classes])


class Registry:
    """The models in service, by name and version.

    Readers in any thread see one immutable snapshot; a writer replaces it. A request keeps the model that it got until
    it is answered, even if the model leaves the registry meanwhile.
    """

    def __init__(self, models: Iterable[ServedModel] = ()) -> None:
        self._models: Mapping[str, tuple[ServedModel, ...]] = {}
        self._writing = threading.Lock()
        for model in models:
            self.replace(model.name, [*self.versions_of(model.name), model])

    def __iter__(self) -> Iterator[ServedModel]:
        """Iterate over the models by name, the highest version of each."""
        models = self._models
        return iter([models[name][-1] for name in sorted(models)])

    def get(self, name: str, version: int | None = None) -> ServedModel:
        """Return a version of a model, by default the highest.

        Raises:
            UnknownModelError: no model has that name; the message lists the names.
            UnknownVersionError: the model does not have that version; the message lists the versions.

        """
        models = self._models
        versions = models.get(name)
        if versions is None:
            names = ", ".join(sorted(models)) or "none at present"
            raise UnknownModelError(f"there is no model {name[:64]!r}; there are: {names}")
        if version is None:
            return versions[-1]
        for served in versions:
            if served.version == version:
                return served
        in_service = ", ".join(str(served.version) for served in versions)
        raise UnknownVersionError(f"version {version} of {name} is not in service; there are: {in_service}")

    def serves(self, served: ServedModel) -> bool:
        """Return whether this instance is in service now."""
        return served in self._models.get(served.name, ())

    def versions_of(self, name: str) -> tuple[ServedModel, ...]:
        """Return the versions of a model in ascending order; empty if there is no such model."""
        return self._models.get(name, ())

    def replace(self, name: str, versions: Iterable[ServedModel]) -> None:
        """Replace all versions of a model in one step; without any, the model leaves the registry."""
        ordered = tuple(sorted(versions, key=lambda served: served.version))
        with self._writing:
            others = {other: served for other, served in self._models.items() if other != name}
            self._models = others | {name: ordered} if ordered else others
