"""Evaluates a label: checks its result and class, and computes the interval of alpha on which the class wins.

This module does no I/O. `store.py` reads what is known of the results, and stores the feedback.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from models import tde
from models.alpha_path import winning_intervals
from service.errors import (
    ExemptClassError,
    ExpiredResultError,
    ServiceError,
    StorageUnavailableError,
    UnknownLabelError,
    UnknownModelError,
    UnknownResultError,
    UnknownVersionError,
    VersionNotServedError,
)
from service.feedback.result_chunks import KeptResult
from service.inference.registry import Registry, ServedModel
from service.result_ids import is_result_id, time_of

__all__ = ["BUFFERED_SECONDS", "Feedback", "KnownResults", "LabelEvaluator", "LabelOutcome"]

BUFFERED_SECONDS = 30.0  # a younger result may still be in another process's buffer


class Feedback(NamedTuple):
    """A label and the interval of alpha on which its class has the highest score.

    Attributes:
        result_id: the id of the classified picture's result.
        model: the model's name.
        version: the model's version.
        label: the class index.
        low: the interval's lower end, -inf if unbounded; None if the class wins at no alpha.
        high: the interval's upper end, inf if unbounded; None if the class wins at no alpha.
        time: when the label came, in seconds since 1970.

    """

    result_id: str
    model: str
    version: int
    label: int
    low: float | None
    high: float | None
    time: float


LabelOutcome = Feedback | ServiceError


class KnownResults(NamedTuple):
    """What memory and the database hold about the results of some labels.

    Args:
        results: result id -> result, if it is kept.
        stored: result id -> feedback, if there is a label already.
        horizon: results before this time may have been deleted, in seconds since 1970.
        now: the time of the lookup, in seconds since 1970.

    """

    results: Mapping[str, KeptResult]
    stored: Mapping[str, Feedback]
    horizon: float
    now: float


class LabelEvaluator:
    """Turns labels into feedback.

    Args:
        registry: the models in service, which have the class names and class effects.
        keep: the number of results kept of each model; 0 if none are kept.
        keep_seconds: the time for which a result is kept.

    """

    def __init__(self, registry: Registry, *, keep: int, keep_seconds: float) -> None:
        self._registry = registry
        self._keep = keep
        self._keep_seconds = keep_seconds

    def may_be_buffered(self, result_id: str, known: KnownResults) -> bool:
        """Return whether an unknown result may still be in another process's buffer."""
        if not self._keep or result_id in known.results or result_id in known.stored:
            return False
        return abs(known.now - time_of(result_id)) < min(BUFFERED_SECONDS, self._keep_seconds)

    def evaluate(self, items: Sequence[tuple[str, str | int]], known: KnownResults) -> list[LabelOutcome]:
        """Return the feedback or the error of each label.

        Args:
            items: pairs of a result id and a class name or index.
            known: what is known of their results.

        """
        outcomes: list[LabelOutcome] = []
        without_interval: dict[ServedModel, list[tuple[int, Feedback, KeptResult]]] = {}
        for position, (result_id, label) in enumerate(items):
            try:
                served, feedback, result = self._check(result_id, label, known)
            except ServiceError as error:
                outcomes.append(error)
                continue
            outcomes.append(feedback)
            if result is not None:
                without_interval.setdefault(served, []).append((position, feedback, result))
        for served, parts in without_interval.items():  # one computation for each model
            intervals = _intervals(served, parts)
            for (position, feedback, _), (low, high) in zip(parts, intervals, strict=True):
                if low <= high:  # false if both are NaN
                    outcomes[position] = feedback._replace(low=low, high=high)
        return outcomes

    def _check(
        self, result_id: str, label: str | int, known: KnownResults
    ) -> tuple[ServedModel, Feedback, KeptResult | None]:
        """Return the model, and either the stored feedback or new feedback with the result it is computed from.

        Raises:
            ExemptClassError, ExpiredResultError, StorageUnavailableError, UnknownLabelError, UnknownResultError,
            VersionNotServedError.

        """
        stored = known.stored.get(result_id)
        result = known.results.get(result_id)
        origin = result or stored
        if origin is None:
            raise self._missing_result_error(result_id, known)
        served = self._served(result_id, origin.model, origin.version)
        index = _class_index(served, label)
        if stored is not None and stored.label == index:
            return served, stored, None
        if result is None:
            raise ExpiredResultError(
                f"result {result_id} is no longer kept, so its label can be repeated but not corrected"
            )
        return served, Feedback(result_id, result.model, result.version, index, None, None, known.now), result

    def _served(self, result_id: str, model: str, version: int) -> ServedModel:
        try:
            served = self._registry.get(model, version)
        except UnknownModelError as error:
            raise VersionNotServedError(
                f"result {result_id} is from {model}, which this server does not serve"
            ) from error
        except UnknownVersionError as error:
            versions = ", ".join(str(other.version) for other in self._registry.versions_of(model))
            raise VersionNotServedError(
                f"result {result_id} is from {model} version {version}; this server serves version {versions}, "
                "whose classes and outputs may differ"
            ) from error
        manifest = served.bundle.manifest
        if manifest.exempt_class is not None:
            raise ExemptClassError(
                f"{model} exempts the class {manifest.classes[manifest.exempt_class].name!r} from alpha, so a label "
                "may win on several intervals; feedback needs a model without an exempt class"
            )
        return served

    def _missing_result_error(self, result_id: str, known: KnownResults) -> ServiceError:
        if not is_result_id(result_id):
            return UnknownResultError(
                f"{result_id[:64]!r} is not the id of a result; send the `id` that classify returned for the picture"
            )
        if not self._keep:
            return UnknownResultError(
                f"result {result_id} is not known: this server keeps no results; set keep_results above 0"
            )
        if self.may_be_buffered(result_id, known):
            return StorageUnavailableError(
                f"result {result_id} is not in the database yet; it is younger than {BUFFERED_SECONDS:g} s, so another "
                "process may still have to write it; send the label again in a moment"
            )
        if time_of(result_id) < known.horizon:
            return ExpiredResultError(
                f"result {result_id} is no longer kept; results are kept for {self._keep_seconds:g} s, up to "
                f"{self._keep} of each model, and dropped if the database is unavailable for long"
            )
        return UnknownResultError(f"result {result_id} is not known; only results of classified pictures take a label")


def _intervals(served: ServedModel, parts: list[tuple[int, Feedback, KeptResult]]) -> list[tuple[float, float]]:
    logits = np.stack([result.logits for *_, result in parts])
    head_cosine = np.stack([result.head_cosine for *_, result in parts])
    slope = tde.head_effect(head_cosine, served.bundle.class_effect)
    labels = np.array([feedback.label for _, feedback, _ in parts])
    return [(low, high) for low, high in winning_intervals(logits, slope, labels).tolist()]


def _class_index(served: ServedModel, label: str | int) -> int:
    """Return the class that a label names. An integer is an index, or the name of a class that is a number."""
    classes = served.bundle.manifest.classes
    named = served.class_indices.get(str(label))
    if isinstance(label, str):
        if named is None:
            raise UnknownLabelError(
                f"label {label[:64]!r} is not a class of {served.name}; GET /v1/models/{served.name} lists the classes"
            )
        return named
    is_index = 0 <= label < len(classes)
    if is_index and named not in {None, label}:
        raise UnknownLabelError(
            f"label {label} has two meanings: class {label} of {served.name} is {classes[label].name!r}, and "
            f"{classes[named].name!r} is class {named}; send the name as a string"
        )
    if not is_index and named is None:
        raise UnknownLabelError(f"label {label} is not a class of {served.name}; classes are 0..{len(classes) - 1}")
    return label if named is None else named
