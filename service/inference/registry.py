"""The models in service: bundles, each with an engine, warmed up. `catalog.py` says which those are."""

import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import orjson

from engines.base import Engine
from models.bundle import Bundle
from service.errors import UnknownModelError, UnknownVersionError
from service.inference.batching import BatchPolicy
from service.inference.model_statistics import ModelStatistics

__all__ = ["Registry", "ServedModel"]


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version of a model in service; its identity is the instance: a bundle loaded again is another one.

    Args:
        bundle: what it is.
        engine: what runs it, warmed up.
        batch_policy: how its pictures are best put together.
        number: no other one in this process has it; what is cached of a model is cached under this.
        statistics: what it has done so far.

    """

    bundle: Bundle
    engine: Engine
    batch_policy: BatchPolicy
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
    def classes_as_json(self) -> tuple[list[str], list[str]]:
        """What an answer shows of each class before its probability, and after its logit."""
        classes = self.bundle.manifest.classes
        before = [
            f'{{"index":{index},"name":{orjson.dumps(each.name).decode()},"probability":'
            for index, each in enumerate(classes)
        ]
        return before, [f',"group":"{each.group}"}}' for each in classes]

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

    def serves(self, served: ServedModel) -> bool:
        """Say whether this very model is in service now."""
        return served in self._models.get(served.name, ())

    def versions_of(self, name: str) -> tuple[ServedModel, ...]:
        """Return the versions of a model, ascending; none where there is no such model."""
        return self._models.get(name, ())

    def replace(self, name: str, versions: Iterable[ServedModel]) -> None:
        """Let these be the versions of a model from now on, in one step; with none the model is gone."""
        wanted = tuple(sorted(versions, key=lambda served: served.version))
        with self._writing:
            others = {each: served for each, served in self._models.items() if each != name}
            self._models = others | {name: wanted} if wanted else others
