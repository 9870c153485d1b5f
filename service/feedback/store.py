"""Labels that came back from production: each is one interval of alpha, so tuning needs no picture and no logits.

The interval is computed when the label arrives, from the numbers kept of the result (`results.py`), and only (model,
version, label, low, high, time) stays. A label is acknowledged once it is committed.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, func, select

from service.feedback.kept_results import KeptResults
from service.feedback.labels import Feedback, Judge, Known, Outcome
from service.inference.registry import Registry
from service.result_ids import is_result_id
from service.storage.database import Database, insert_or_update
from service.storage.tables import feedback
from service.storage.trimming import Trimmer

__all__ = ["FeedbackStore", "count_labels", "read_intervals"]

IDS_PER_QUERY = 500
ROWS_AT_A_TIME = 10_000
Labels = NDArray[np.int64]
Float64 = NDArray[np.float64]


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
        self._database = database
        self._results = results
        self.clock = clock
        self._judge = Judge(registry, keep=results.keep, keep_seconds=results.keep_seconds)
        self._trimmer = Trimmer(feedback, "result_id", keep)

    async def record(self, items: Sequence[tuple[str, str | int]]) -> list[Outcome]:
        """Store labels, (result id, class name or index) each, in one transaction; return what became of each.

        Where an id comes twice the later label counts. A young result that no one knows may be in another process's
        buffer, so it is looked for again after that should have been written; where it still is not there its outcome
        is a StorageUnavailableError, for the label must not be thrown away.

        Raises:
            StorageUnavailableError: the database is away; nothing was stored.

        """
        ids = list({result_id for result_id, _ in items if is_result_id(result_id)})
        known = await self._database.run(partial(self._look_up, ids=ids))
        for _ in range(2):
            late = [result_id for result_id in ids if self._judge.may_still_come(result_id, known)]
            if not late:
                break
            await asyncio.sleep(self._results.interval)
            more = await self._database.run(partial(self._look_up, ids=late))
            known = Known({**known.results, **more.results}, {**known.stored, **more.stored}, *more[2:])
        outcomes = await asyncio.to_thread(self._judge.judge, items, known)
        last = {each.result_id: each for each in outcomes if isinstance(each, Feedback)}
        new = {result_id: each for result_id, each in last.items() if known.stored.get(result_id) != each}
        if new:
            rows = [new[result_id]._asdict() for result_id in sorted(new)]  # in order: two lists never wait in a ring
            await self._database.run(lambda connection: insert_or_update(connection, feedback, rows))
            for each in new.values():
                self._trimmer.count(each.model, each.version)
        return outcomes

    def intervals(
        self, model: str, version: int, since: float | None = None, last: int | None = None
    ) -> tuple[Labels, Float64]:
        """Return labels and where along alpha each wins, oldest first.

        Args:
            model: its name.
            version: its version.
            since: seconds since 1970; None for all.
            last: at most so many, the newest; None for all.

        Returns:
            (N,) class indices and (N, 2) intervals, (nan, nan) for a label that wins nowhere.

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

    def _look_up(self, connection: Connection, ids: Sequence[str]) -> Known:
        results = self._results.find(connection, ids)  # first: it looks into memory, and only then at the database
        stored = {}
        for start in range(0, len(ids), IDS_PER_QUERY):
            chosen = feedback.c.result_id.in_(ids[start : start + IDS_PER_QUERY])
            for row in connection.execute(select(*(feedback.c[name] for name in Feedback._fields)).where(chosen)):
                stored[row.result_id] = Feedback(*row)
        complete = len(stored.keys() | results.keys()) == len(ids)
        return Known(results, stored, 0.0 if complete else self._results.horizon(connection), self.clock())


def read_intervals(
    connection: Connection, model: str, version: int, since: float | None, last: int | None
) -> tuple[Labels, Float64]:
    """Do what `FeedbackStore.intervals` does, in a transaction that is there already.

    The driver's own rows go into numpy: SQLAlchemy's would hold all other threads up for three times as long.
    """
    columns = feedback.c
    query = select(columns.label, columns.low, columns.high).where(*_of(model, version, since))
    newest_first = query.order_by(columns.time.desc()).limit(last)
    with connection.execute(newest_first) as result:
        cursor = result.cursor
        assert cursor is not None  # noqa: S101  a SELECT has one
        parts = [np.empty((0, 3))]
        while rows := cursor.fetchmany(ROWS_AT_A_TIME):
            parts.append(np.array(rows, np.float64))
    table = np.concatenate(parts)[::-1]
    return table[:, 0].astype(np.int64), table[:, 1:].copy()


def count_labels(connection: Connection, model: str, version: int, classes: int, since: float | None) -> Labels:
    """Return how many labels each of so many classes has, (C,)."""
    query = select(feedback.c.label, func.count()).where(*_of(model, version, since)).group_by(feedback.c.label)
    counts = np.zeros(classes, np.int64)
    for label, count in connection.execute(query):
        counts[label] = count
    return counts


def _of(model: str, version: int, since: float | None) -> tuple[ColumnElement[bool], ...]:
    columns = feedback.c
    return columns.model == model, columns.version == version, columns.time >= (since or 0.0)
