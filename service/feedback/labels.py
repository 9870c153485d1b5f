"""What a label that came back means: of which result, which class, and where along alpha it wins.

Nothing here reads or writes: `storage/feedback.py` says what is known of the results in question, and keeps what comes
out.
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
from service.feedback.kept_results import KeptResult
from service.inference.registry import Registry, ServedModel
from service.result_ids import is_result_id, time_of

__all__ = ["ON_ITS_WAY_SECONDS", "Feedback", "Judge", "Known", "Outcome"]

ON_ITS_WAY_SECONDS = 30.0  # a result younger than this may still be in another process's buffer


class Feedback(NamedTuple):
    """A label and where along alpha it wins; low and high are None where it wins nowhere, may be infinite."""

    result_id: str
    model: str
    version: int
    label: int
    low: float | None
    high: float | None
    time: float


Outcome = Feedback | ServiceError


class Known(NamedTuple):
    """What is known of the results in question.

    Args:
        results: those that are kept.
        stored: the labels that are stored already.
        horizon: results given before may have been deleted, in seconds since 1970.
        now: when this was so.

    """

    results: Mapping[str, KeptResult]
    stored: Mapping[str, Feedback]
    horizon: float
    now: float


class Judge:
    """Says what labels mean.

    Args:
        registry: the served models, for class names and class effects.
        keep: most results of each model; 0: none are kept.
        keep_seconds: how long a result is kept.

    """

    def __init__(self, registry: Registry, *, keep: int, keep_seconds: float) -> None:
        self._registry = registry
        self._keep = keep
        self._keep_seconds = keep_seconds

    def may_still_come(self, result_id: str, known: Known) -> bool:
        """Say whether a result that is not known may be on its way to the database from another process."""
        if not self._keep or result_id in known.results or result_id in known.stored:
            return False
        return abs(known.now - time_of(result_id)) < min(ON_ITS_WAY_SECONDS, self._keep_seconds)

    def judge(self, items: Sequence[tuple[str, str | int]], known: Known) -> list[Outcome]:
        """Return the feedback, or what is wrong, for each label; the intervals of a model are computed in one go."""
        outcomes: list[Outcome] = []
        open_intervals: dict[ServedModel, list[tuple[int, Feedback, KeptResult]]] = {}
        for position, (result_id, label) in enumerate(items):
            try:
                served, judged, result = self._judge_one(result_id, label, known)
            except ServiceError as error:
                outcomes.append(error)
                continue
            outcomes.append(judged)
            if result is not None:
                open_intervals.setdefault(served, []).append((position, judged, result))
        for served, parts in open_intervals.items():
            intervals = _intervals(served, parts)
            for (position, judged, _), (low, high) in zip(parts, intervals, strict=True):
                if low <= high:  # else both are NaN
                    outcomes[position] = judged._replace(low=low, high=high)
        return outcomes

    def _judge_one(
        self, result_id: str, label: str | int, known: Known
    ) -> tuple[ServedModel, Feedback, KeptResult | None]:
        """Return the model, and the feedback that is stored already, or new feedback and the result it comes from.

        Raises:
            ExemptClassError, ExpiredResultError, StorageUnavailableError, UnknownLabelError, UnknownResultError,
            VersionNotServedError.

        """
        stored = known.stored.get(result_id)
        result = known.results.get(result_id)
        origin = result or stored
        if origin is None:
            raise self._missing(result_id, known)
        served = self._served(result_id, origin.model, origin.version)
        index = _class_index(served, label)
        if stored is not None and stored.label == index:
            return served, stored, None
        if result is None:
            raise ExpiredResultError(
                f"result {result_id} is not kept any more, so its label can be repeated but not corrected"
            )
        return served, Feedback(result_id, result.model, result.version, index, None, None, known.now), result

    def _served(self, result_id: str, model: str, version: int) -> ServedModel:
        try:
            served = self._registry.get(model, version)
        except UnknownModelError as error:
            raise VersionNotServedError(f"result {result_id} is of {model}, which this server does not have") from error
        except UnknownVersionError as error:
            there = ", ".join(str(each.version) for each in self._registry.versions_of(model))
            raise VersionNotServedError(
                f"result {result_id} is of {model} version {version}; this server has version {there}, "
                "whose classes and numbers may be others"
            ) from error
        manifest = served.bundle.manifest
        if manifest.exempt_class is not None:
            raise ExemptClassError(
                f"{model} exempts the class {manifest.classes[manifest.exempt_class].name!r} from alpha, so where a "
                "label wins is no single interval; feedback is for models without such a class"
            )
        return served

    def _missing(self, result_id: str, known: Known) -> ServiceError:
        if not is_result_id(result_id):
            return UnknownResultError(
                f"{result_id[:64]!r} is no result id; take the `id` of a result of classify, 32 hexadecimal digits"
            )
        if not self._keep:
            return UnknownResultError(
                f"result {result_id} is not known: this server keeps no results; set keep_results above 0"
            )
        if self.may_still_come(result_id, known):
            return StorageUnavailableError(
                f"result {result_id} is not in the database yet, and as it is younger than {ON_ITS_WAY_SECONDS:g} s it "
                "may be on its way; send the label again in a moment"
            )
        if time_of(result_id) < known.horizon:
            return ExpiredResultError(
                f"result {result_id} is not kept any more; results are kept for {self._keep_seconds:g} s, and the last "
                f"{self._keep} of each model, as far as the database took them"
            )
        return UnknownResultError(f"result {result_id} is not known; only a classified picture's result takes a label")


def _intervals(served: ServedModel, parts: list[tuple[int, Feedback, KeptResult]]) -> list[tuple[float, float]]:
    logits = np.stack([result.logits for *_, result in parts])
    head_cosine = np.stack([result.head_cosine for *_, result in parts])
    slope = tde.head_effect(head_cosine, served.bundle.class_effect)
    labels = np.array([judged.label for _, judged, _ in parts])
    return [(low, high) for low, high in winning_intervals(logits, slope, labels).tolist()]


def _class_index(served: ServedModel, label: str | int) -> int:
    classes = served.bundle.manifest.classes
    if isinstance(label, int):
        if not 0 <= label < len(classes):
            raise UnknownLabelError(f"label {label} is no class of {served.name}; they are 0..{len(classes) - 1}")
        return label
    index = served.class_indices.get(label)
    if index is None:
        raise UnknownLabelError(
            f"label {label[:64]!r} is no class of {served.name}; GET /v1/models/{served.name} lists them"
        )
    return index
