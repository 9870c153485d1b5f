"""Labels that came back from production: each is one interval of alpha, so tuning needs no picture and no logits.

The interval is computed when the label arrives, from the numbers kept of the result (`results.py`), and only (model,
version, label, low, high, time) stays. A label is acknowledged once it is committed.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, func, select

from models import tde
from models.alpha_path import winning_intervals
from service.errors import (
    ExemptClassError,
    ExpiredResultError,
    ServiceError,
    UnknownLabelError,
    UnknownModelError,
    UnknownResultError,
    VersionNotServedError,
)
from service.registry import Registry, ServedModel
from service.result_ids import is_result_id, time_of
from service.storage.database import Database, insert_or_update
from service.storage.results import KeptResult, KeptResults
from service.storage.tables import feedback
from service.storage.trimming import Trimmer

__all__ = ["Feedback", "FeedbackStore", "count_labels", "read_intervals"]

IDS_PER_QUERY = 500
ROWS_AT_A_TIME = 10_000
ON_ITS_WAY_SECONDS = 10.0  # a result younger than this may still be in another process's buffer
Labels = NDArray[np.int64]
Float64 = NDArray[np.float64]


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


class _Known(NamedTuple):
    """What is known of the results in question."""

    results: Mapping[str, KeptResult]
    stored: Mapping[str, Feedback]
    horizon: float


class FeedbackStore:
    """Feedback in the database.

    Args:
        database: where it is kept.
        results: the numbers of recent results.
        registry: the served models, for class names and class effects.
        keep: most labels of one model and version.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        results: KeptResults,
        registry: Registry,
        *,
        keep: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._results, self._registry, self.clock = database, results, registry, clock
        self._trimmer = Trimmer(feedback, "result_id", keep)

    async def record(self, items: Sequence[tuple[str, str | int]]) -> list[Outcome]:
        """Store labels, (result id, class name or index) each, in one transaction; return what became of each.

        Where an id comes twice the later label counts. A result that no one knows yet may be in another process's
        buffer, so it is looked for again after that must have been written.

        Raises:
            StorageUnavailableError: the database is away; nothing was stored.
        """
        ids = list({result_id for result_id, _ in items if is_result_id(result_id)})
        known = await self._database.run(partial(self._look_up, ids=ids))
        for _ in range(2):
            late = [result_id for result_id in ids if self._may_still_come(result_id, known)]
            if not late:
                break
            await asyncio.sleep(self._results.interval)
            more = await self._database.run(partial(self._look_up, ids=late))
            known = _Known({**known.results, **more.results}, {**known.stored, **more.stored}, more.horizon)
        outcomes = await asyncio.to_thread(self._judge, items, known)
        last = {each.result_id: each for each in outcomes if isinstance(each, Feedback)}
        new = {result_id: each for result_id, each in last.items() if known.stored.get(result_id) != each}
        if new:
            rows = [new[result_id]._asdict() for result_id in sorted(new)]  # in order: two lists never wait in a ring
            await self._database.run(lambda connection: insert_or_update(connection, feedback, rows))
            for each in new.values():
                self._trimmer.count(each.model, each.version)
        return outcomes

    def labelled_intervals(
        self, model: str, version: int, since: float | None = None, last: int | None = None
    ) -> tuple[Labels, Float64, Float64]:
        """Return labels and where along alpha each wins, oldest first.

        Args:
            model: its name.
            version: its version.
            since: seconds since 1970; None for all.
            last: at most so many, the newest; None for all.

        Returns:
            (N,) class indices, (N, 2) intervals, (nan, nan) for a label that wins nowhere, and (N,) seconds since 1970.

        Raises:
            StorageUnavailableError: the database is away.
        """
        return self._database.run_sync(lambda connection: read_intervals(connection, model, version, since, last))

    def delete_old(self) -> None:
        """Delete the oldest labels beyond the number kept; cheap where nothing is due.

        Raises:
            StorageUnavailableError: the database is away.
        """
        self._trimmer.trim(self._database)

    def _look_up(self, connection: Connection, ids: Sequence[str]) -> _Known:
        results = self._results.find(connection, ids)  # first: it looks into memory, and only then at the database
        stored = {}
        for start in range(0, len(ids), IDS_PER_QUERY):
            chosen = feedback.c.result_id.in_(ids[start : start + IDS_PER_QUERY])
            for row in connection.execute(select(*(feedback.c[name] for name in Feedback._fields)).where(chosen)):
                stored[row.result_id] = Feedback(*row)
        complete = len(stored.keys() | results.keys()) == len(ids)
        return _Known(results, stored, 0.0 if complete else self._results.horizon(connection))

    def _may_still_come(self, result_id: str, known: _Known) -> bool:
        if result_id in known.results or result_id in known.stored or not self._results.keep:
            return False
        return abs(self.clock() - time_of(result_id)) < ON_ITS_WAY_SECONDS

    def _judge(self, items: Sequence[tuple[str, str | int]], known: _Known) -> list[Outcome]:
        """Return the feedback, or what is wrong, for each label; the intervals of a model are computed in one go."""
        outcomes: list[Outcome] = []
        open_intervals: dict[str, list[tuple[int, Feedback, KeptResult]]] = {}
        for position, (result_id, label) in enumerate(items):
            try:
                judged, result = self._judge_one(result_id, label, known)
            except ServiceError as error:
                outcomes.append(error)
                continue
            outcomes.append(judged)
            if result is not None:
                open_intervals.setdefault(judged.model, []).append((position, judged, result))
        for model, parts in open_intervals.items():
            intervals = self._intervals(model, parts)
            for (position, judged, _), (low, high) in zip(parts, intervals, strict=True):
                if low <= high:  # else both are NaN
                    outcomes[position] = judged._replace(low=low, high=high)
        return outcomes

    def _judge_one(self, result_id: str, label: str | int, known: _Known) -> tuple[Feedback, KeptResult | None]:
        """Return the feedback that is stored already, or new feedback and the result its interval comes from.

        Raises:
            ExemptClassError, ExpiredResultError, UnknownLabelError, UnknownResultError, VersionNotServedError.
        """
        stored, result = known.stored.get(result_id), known.results.get(result_id)
        origin = result or stored
        if origin is None:
            raise self._missing(result_id, known.horizon)
        served = self._served(result_id, origin.model, origin.version)
        index = _class_index(served, label)
        if stored is not None and stored.label == index:
            return stored, None
        if result is None:
            raise ExpiredResultError(
                f"result {result_id} is not kept any more, so its label can be repeated but not corrected"
            )
        return Feedback(result_id, result.model, result.version, index, None, None, self.clock()), result

    def _intervals(self, model: str, parts: list[tuple[int, Feedback, KeptResult]]) -> list[tuple[float, float]]:
        logits = np.stack([result.logits for *_, result in parts])
        head_cosine = np.stack([result.head_cosine for *_, result in parts])
        slope = tde.head_effect(head_cosine, self._registry.get(model).bundle.class_effect)
        labels = np.array([judged.label for _, judged, _ in parts])
        return [(low, high) for low, high in winning_intervals(logits, slope, labels).tolist()]

    def _served(self, result_id: str, model: str, version: int) -> ServedModel:
        try:
            served = self._registry.get(model)
        except UnknownModelError as error:
            raise VersionNotServedError(f"result {result_id} is of {model}, which this server does not have") from error
        manifest = served.bundle.manifest
        if manifest.version != version:
            raise VersionNotServedError(
                f"result {result_id} is of {model} version {version}; this server has version {manifest.version}, "
                "whose classes and numbers may be others"
            )
        if manifest.exempt_class is not None:
            raise ExemptClassError(
                f"{model} exempts the class {manifest.classes[manifest.exempt_class].name!r} from alpha, so where a "
                "label wins is no single interval; feedback is for models without such a class"
            )
        return served

    def _missing(self, result_id: str, horizon: float) -> ServiceError:
        if not is_result_id(result_id):
            return UnknownResultError(
                f"{result_id[:64]!r} is no result id; take the `id` of a result of classify, 32 hexadecimal digits"
            )
        if not self._results.keep:
            return UnknownResultError(
                f"result {result_id} is not known: this server keeps no results; set keep_results above 0"
            )
        if time_of(result_id) < horizon:
            return ExpiredResultError(
                f"result {result_id} is not kept any more; results are kept for {self._results.keep_seconds:g} s, and "
                f"the last {self._results.keep} of each model"
            )
        return UnknownResultError(f"result {result_id} is not known; only a classified picture's result takes a label")


def read_intervals(
    connection: Connection, model: str, version: int, since: float | None, last: int | None
) -> tuple[Labels, Float64, Float64]:
    """Do what `FeedbackStore.labelled_intervals` does, in a transaction that is there already."""
    columns = feedback.c
    query = select(columns.label, columns.low, columns.high, columns.time).where(*_of(model, version, since))
    newest_first = query.order_by(columns.time.desc(), columns.result_id.desc()).limit(last)
    streamed = connection.execute(newest_first, execution_options={"yield_per": ROWS_AT_A_TIME})
    parts = [np.array([tuple(row) for row in part], np.float64) for part in streamed.partitions()]
    table = np.concatenate([np.empty((0, 4)), *parts])[::-1]
    return table[:, 0].astype(np.int64), table[:, 1:3].copy(), table[:, 3].copy()


def count_labels(connection: Connection, model: str, version: int, classes: int, since: float | None) -> Labels:
    """Return how many labels each of so many classes has, (C,)."""
    query = select(feedback.c.label, func.count()).where(*_of(model, version, since)).group_by(feedback.c.label)
    counts = np.zeros(classes, np.int64)
    for label, count in connection.execute(query):
        counts[label] = count
    return counts


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


def _of(model: str, version: int, since: float | None) -> tuple[ColumnElement[bool], ...]:
    columns = feedback.c
    return columns.model == model, columns.version == version, columns.time >= (since or 0.0)
