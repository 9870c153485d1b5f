"""The labels that clients send. Each is stored as one interval of alpha, so choosing alpha needs no picture or logits.

The interval is computed when the label arrives, from the kept result (`kept_results.py`). Only model, version, label,
interval and time are stored. A label is acknowledged once it is committed.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, func, select

from service.feedback.kept_results import KeptResults
from service.feedback.label_evaluation import Feedback, KnownResults, LabelEvaluator, LabelOutcome
from service.inference.registry import Registry
from service.result_ids import is_result_id
from service.storage.database import Database, insert_or_update
from service.storage.tables import feedback
from service.storage.trimming import Trimmer

__all__ = ["FeedbackStore", "count_labels", "read_intervals"]

IDS_PER_QUERY = 500
ROWS_PER_FETCH = 10_000
MAX_LOOKUPS = 3  # of results that another process may still have to write
Labels = NDArray[np.int64]
Float64 = NDArray[np.float64]


class FeedbackStore:
    """The feedback in the database.

    Args:
        database: the shared database.
        results: the kept results.
        registry: the models in service, which have the class names and class effects.
        keep: the number of labels to keep for each model and version.
        clock: returns seconds since 1970.

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
        self._database = database
        self._results = results
        self.clock = clock
        self._evaluator = LabelEvaluator(registry, keep=results.keep, keep_seconds=results.keep_seconds)
        self._trimmer = Trimmer(feedback, "result_id", keep)

    async def record(self, items: Sequence[tuple[str, str | int]]) -> list[LabelOutcome]:
        """Store labels in one transaction, and return the feedback or the error of each.

        If an id occurs twice, the later label counts. A young result that is not found may be in another process's
        buffer, so it is looked up again after an interval. If it is still missing, its outcome is a
        StorageUnavailableError, so that the client sends the label again.

        Args:
            items: pairs of a result id and a class name or index.

        Raises:
            StorageUnavailableError: the database is unavailable; nothing was stored.

        """
        ids = list({result_id for result_id, _ in items if is_result_id(result_id)})
        known = await self._database.run(partial(self._look_up, ids=ids))
        for _ in range(MAX_LOOKUPS - 1):
            missing = [result_id for result_id in ids if self._evaluator.may_be_buffered(result_id, known)]
            if not missing:
                break
            await asyncio.sleep(self._results.interval)
            more = await self._database.run(partial(self._look_up, ids=missing))
            results = {**known.results, **more.results}
            stored = {**known.stored, **more.stored}
            known = KnownResults(results, stored, more.horizon, more.now)
        outcomes = await asyncio.to_thread(self._evaluator.evaluate, items, known)
        last = {outcome.result_id: outcome for outcome in outcomes if isinstance(outcome, Feedback)}
        new = {result_id: outcome for result_id, outcome in last.items() if known.stored.get(result_id) != outcome}
        if new:
            rows = [new[result_id]._asdict() for result_id in sorted(new)]  # one order for all, against deadlocks
            await self._database.run(lambda connection: insert_or_update(connection, feedback, rows))
            for outcome in new.values():
                self._trimmer.count(outcome.model, outcome.version)
        return outcomes

    def intervals(
        self, model: str, version: int, since: float | None = None, last: int | None = None
    ) -> tuple[Labels, Float64]:
        """Return labels and their intervals of alpha, oldest first.

        Args:
            model: the name.
            version: the version.
            since: seconds since 1970; None for all labels.
            last: the number of newest labels to return; None for all labels.

        Returns:
            (N,) class indices and (N, 2) intervals, (nan, nan) for a class that wins at no alpha.

        Raises:
            StorageUnavailableError: the database is unavailable.

        """
        return self._database.run_sync(lambda connection: read_intervals(connection, model, version, since, last))

    def delete_old(self) -> None:
        """Delete the oldest labels beyond the number kept; cheap if there are none to delete.

        Raises:
            StorageUnavailableError: the database is unavailable.

        """
        self._trimmer.trim(self._database)

    def _look_up(self, connection: Connection, ids: Sequence[str]) -> KnownResults:
        results = self._results.find(connection, ids)  # first in memory, then in the database, so none is missed
        stored = {}
        for start in range(0, len(ids), IDS_PER_QUERY):
            chosen = feedback.c.result_id.in_(ids[start : start + IDS_PER_QUERY])
            for row in connection.execute(select(*(feedback.c[name] for name in Feedback._fields)).where(chosen)):
                stored[row.result_id] = Feedback(*row)
        complete = len(stored.keys() | results.keys()) == len(ids)
        return KnownResults(results, stored, 0.0 if complete else self._results.horizon(connection), self.clock())


def read_intervals(
    connection: Connection, model: str, version: int, since: float | None, last: int | None
) -> tuple[Labels, Float64]:
    """Do what `FeedbackStore.intervals` does, in the caller's transaction.

    The rows go from the driver to numpy directly; SQLAlchemy's rows would hold the interpreter's lock three times as
    long.
    """
    columns = feedback.c
    query = select(columns.label, columns.low, columns.high).where(*_of(model, version, since))
    newest_first = query.order_by(columns.time.desc()).limit(last)
    with connection.execute(newest_first) as result:
        cursor = result.cursor
        assert cursor is not None  # noqa: S101  a SELECT has one
        parts = [np.empty((0, 3))]
        while rows := cursor.fetchmany(ROWS_PER_FETCH):
            parts.append(np.array(rows, np.float64))
    table = np.concatenate(parts)[::-1]
    return table[:, 0].astype(np.int64), table[:, 1:].copy()


def count_labels(connection: Connection, model: str, version: int, classes: int, since: float | None) -> Labels:
    """Return (C,) the number of labels of each class."""
    query = select(feedback.c.label, func.count()).where(*_of(model, version, since)).group_by(feedback.c.label)
    counts = np.zeros(classes, np.int64)
    for label, count in connection.execute(query):
        counts[label] = count
    return counts


def _of(model: str, version: int, since: float | None) -> tuple[ColumnElement[bool], ...]:
    columns = feedback.c
    return columns.model == model, columns.version == version, columns.time >= (since or 0.0)
