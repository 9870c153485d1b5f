"""The numbers of recent results, kept for a while so that a label which comes back later finds them.

Classification hands a result over and goes on: it lands in a bounded buffer in memory, and a thread writes the buffer
to the database in one transaction several times a second. The database is shared, so any process finds any result once
it is written. While the database is away the buffer drops its oldest results, counts them, and nobody waits.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, func, select

from service.metrics import Metrics
from service.result_ids import time_of
from service.storage.database import Database, StorageUnavailableError, insert_or_ignore
from service.storage.tables import kept_results
from service.storage.trimming import Trimmer

__all__ = ["FLUSH_SECONDS", "KeptResult", "KeptResults"]

log = logging.getLogger("longtail.results")
FLUSH_SECONDS = 0.25
FLUSH_ROWS = 512
MAX_WAITING_ROWS = 8192
MAX_WAITING_BYTES = 64 * 2**20
CLOSE_SECONDS = 5.0
MILLISECOND = 0.001  # how finely an id tells its time
Float = NDArray[np.floating[Any]]
Float32 = NDArray[np.float32]


class KeptResult(NamedTuple):
    """One classified picture: (C,) logits at alpha 0 and (K,) head cosine, the first alpha asked for and who won."""

    id: str
    model: str
    version: int
    alpha: float
    predicted: int
    plain: int
    logits: Float
    head_cosine: Float

    @property
    def size(self) -> int:
        """Bytes of its numbers."""
        return self.logits.nbytes + self.head_cosine.nbytes

    def row(self) -> dict[str, Any]:
        """Return it as the table has it."""
        logits, head_cosine = (np.asarray(part, "<f4").tobytes() for part in (self.logits, self.head_cosine))
        return self._asdict() | {"time": time_of(self.id), "logits": logits, "head_cosine": head_cosine}


class KeptResults:
    """Results in memory and in the database.

    Args:
        database: where they are kept.
        metrics: where dropped results are counted.
        keep: most results of one model and version; 0 keeps none.
        keep_seconds: how long a result is kept.
        interval: seconds between two writes.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        metrics: Metrics,
        *,
        keep: int,
        keep_seconds: float,
        interval: float = FLUSH_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.interval, self.keep, self.keep_seconds, self.clock = interval, keep, keep_seconds, clock
        self._database, self._metrics = database, metrics
        self._waiting: dict[str, KeptResult] = {}
        self._writing: dict[str, KeptResult] = {}
        self._bytes, self._dropped_until = 0, 0.0
        self._lock, self._one_flush = threading.Lock(), threading.Lock()
        self._wake, self._closing, self._in_trouble = threading.Event(), False, False
        self._trimmer, self._next_expiry = Trimmer(kept_results, "id", keep), 0.0
        self._thread = threading.Thread(target=self._serve, name="kept-results", daemon=True)

    def start(self) -> None:
        """Start the thread that writes."""
        self._thread.start()

    def close(self) -> None:
        """Write what waits and end the thread; a database that hangs is not waited for."""
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)

    def add(self, result: KeptResult) -> None:
        """Take a result; no I/O, a few microseconds."""
        if not self.keep:
            return
        with self._lock:
            self._waiting[result.id] = result
            self._bytes += result.size
            self._shrink()
            full = len(self._waiting) == FLUSH_ROWS
        if full:
            self._wake.set()

    def flush(self) -> int:
        """Write what waits in one transaction, and return how many results that were.

        Raises:
            StorageUnavailableError: the database is away; what waited waits on, as far as there is room.
        """
        with self._one_flush:
            with self._lock:
                self._writing, self._waiting, self._bytes = self._waiting, {}, 0
            try:
                written = self._write(list(self._writing.values()))
            except StorageUnavailableError:
                with self._lock:
                    self._waiting = self._writing | self._waiting
                    self._bytes = sum(result.size for result in self._waiting.values())
                    self._shrink()
                raise
            except Exception:
                self._count_dropped(self._writing.values())
                raise
            finally:
                self._writing = {}
        return written

    def forget(self, model: str, version: int) -> None:
        """Drop what waits of a model and version; what was being written is written when this returns."""
        with self._one_flush, self._lock:
            mine = [i for i, each in self._waiting.items() if (each.model, each.version) == (model, version)]
            self._count_dropped([self._waiting.pop(each) for each in mine])
            self._bytes = sum(result.size for result in self._waiting.values())

    def delete_old(self) -> None:
        """Delete what is too old, and what is beyond the number kept.

        Raises:
            StorageUnavailableError: the database is away.
        """
        self._next_expiry = self.clock() + min(60.0, self.keep_seconds / 20)
        expired = delete(kept_results).where(kept_results.c.time < self.clock() - self.keep_seconds)
        self._database.run_sync(lambda connection: connection.execute(expired))
        self._trimmer.trim(self._database)

    def find(self, connection: Connection, ids: Iterable[str]) -> dict[str, KeptResult]:
        """Return those of the results that are kept, here or in the database, and are not too old."""
        now = self.clock()
        fresh = [result_id for result_id in ids if now - time_of(result_id) <= self.keep_seconds]
        with self._lock:
            found = {i: r for i in fresh if (r := self._waiting.get(i) or self._writing.get(i)) is not None}
        elsewhere = [result_id for result_id in fresh if result_id not in found]
        for start in range(0, len(elsewhere), FLUSH_ROWS):
            chosen = kept_results.c.id.in_(elsewhere[start : start + FLUSH_ROWS])
            for row in connection.execute(select(kept_results).where(chosen)):
                numbers = [np.frombuffer(blob, "<f4") for blob in (row.logits, row.head_cosine)]
                found[row.id] = KeptResult(
                    row.id, row.model, row.version, row.alpha, row.predicted, row.plain, *numbers
                )
        return found

    def horizon(self, connection: Connection) -> float:
        """Return the time before which results may have been deleted or dropped; one given later was never kept."""
        columns = kept_results.c
        by_model = select(func.count(), func.min(columns.time)).group_by(columns.model, columns.version)
        full = [float(oldest) for count, oldest in connection.execute(by_model) if count >= self.keep]
        return max([self.clock() - self.keep_seconds, self._dropped_until, *full])

    def recent_traffic(self, model: str, version: int, since: float | None = None) -> tuple[Float32, Float32]:
        """Return the numbers of recent pictures of a model, oldest first: (N, C) logits and (N, K) head cosine.

        Args:
            model: its name.
            version: its version.
            since: seconds since 1970; None for all that are kept.

        Raises:
            StorageUnavailableError: the database is away.
        """
        self.flush()
        columns = kept_results.c
        query = select(columns.logits, columns.head_cosine).where(*self._of(model, version, since))
        rows = self._database.run_sync(lambda c: c.execute(query.order_by(columns.time, columns.id)).all())
        logits, head_cosine = (
            np.frombuffer(b"".join(row[part] for row in rows), "<f4").reshape(len(rows), -1 if rows else 0)
            for part in (0, 1)
        )
        return logits, head_cosine

    def predictions(
        self, connection: Connection, model: str, version: int, since: float | None = None
    ) -> NDArray[np.int64]:
        """Return what recent pictures were taken for, (M, 3): class at the alpha used, class at alpha 0, pictures."""
        columns = kept_results.c
        query = select(columns.predicted, columns.plain, func.count()).where(*self._of(model, version, since))
        grouped = query.group_by(columns.predicted, columns.plain)
        return np.array([tuple(row) for row in connection.execute(grouped)], np.int64).reshape(-1, 3)

    def _of(self, model: str, version: int, since: float | None) -> tuple[Any, ...]:
        oldest = max(self.clock() - self.keep_seconds, since or 0.0)
        columns = kept_results.c
        return columns.model == model, columns.version == version, columns.time >= oldest

    def _write(self, results: list[KeptResult]) -> int:
        if results:
            rows = [result.row() for result in results]
            self._database.run_sync(lambda connection: insert_or_ignore(connection, kept_results, rows))
            for result in results:
                self._trimmer.count(result.model, result.version)
        return len(results)

    def _shrink(self) -> None:
        """Drop the oldest results that there is no room for; the lock is held."""
        dropped = []
        while len(self._waiting) > MAX_WAITING_ROWS or self._bytes > MAX_WAITING_BYTES:
            oldest = self._waiting.pop(next(iter(self._waiting)))
            self._bytes -= oldest.size
            dropped.append(oldest)
        self._count_dropped(dropped)

    def _count_dropped(self, results: Iterable[KeptResult]) -> None:
        for result in results:
            self._metrics.results_dropped.labels(result.model).inc()
            self._dropped_until = max(self._dropped_until, time_of(result.id) + MILLISECOND)

    def _serve(self) -> None:
        while not self._closing:
            self._wake.wait(self.interval)
            self._wake.clear()
            self._turn()
        self._turn()

    def _turn(self) -> None:
        """Write and tidy up; trouble is logged when it begins and when it ends, not every time."""
        try:
            written = self.flush()
            self._trimmer.trim(self._database)
            if self.clock() >= self._next_expiry:
                self.delete_old()
        except StorageUnavailableError as error:
            if not self._in_trouble:
                log.warning("results wait in memory, at most %d, classification goes on: %s", MAX_WAITING_ROWS, error)
            self._in_trouble = True
        except Exception:
            if not self._in_trouble:
                log.exception("results are not kept, classification goes on")
            self._in_trouble = True
        else:
            if self._in_trouble and written:
                log.warning("results are kept again")
                self._in_trouble = False
