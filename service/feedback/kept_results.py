"""The network outputs of recent results, kept for a limited time so that a later label can be used.

Classification adds a result to a bounded buffer in memory. A thread writes the buffer to the database several times a
second, in one transaction, as chunks (`result_chunks.py`). The processes share the database, so each process finds
every result that was written. If the database is unavailable and the buffer is full, the buffer drops and counts its
oldest results. Classification never waits.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete

from service.feedback import result_chunks as chunks
from service.feedback.result_chunks import KeptResult
from service.metrics import Metrics
from service.repeating import Repeating
from service.result_ids import time_of
from service.storage.database import Database, StorageUnavailableError
from service.storage.tables import kept_chunks

__all__ = ["FLUSH_SECONDS", "KeptResult", "KeptResults"]

log = logging.getLogger("longtail.results")
FLUSH_SECONDS = 0.25
FLUSH_RESULTS = 2048  # a buffer of this size is written without waiting for the interval
MAX_BUFFERED_RESULTS = 8192
MAX_BUFFERED_BYTES = 64 * 2**20
MILLISECOND = 0.001  # the resolution of the time in an id
Float32 = NDArray[np.float32]
_FAILURE = "results are not kept, classification continues"


class KeptResults:
    """Results in memory and in the database.

    Args:
        database: the shared database.
        metrics: counts dropped results.
        keep: the number of results to keep for each model and version; 0 keeps none.
        keep_seconds: the time for which a result is kept.
        interval: seconds between two writes.
        clock: returns seconds since 1970.

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
        self.interval = interval
        self.keep = keep
        self.keep_seconds = keep_seconds
        self.clock = clock
        self._database = database
        self._metrics = metrics
        self._buffer: dict[str, KeptResult] = {}
        self._writing: dict[str, KeptResult] = {}
        self._maybe_written: Collection[str] = ()  # ids of a failed write, which may have been committed nevertheless
        self._bytes = 0
        self._dropped_until = 0.0
        self._lock = threading.Lock()
        self._one_flush = threading.Lock()
        self._failing = False
        self._trimmer = chunks.ChunkTrimmer(keep)
        self._next_expiry = 0.0
        self._thread = Repeating(
            "kept-results", self._step, failure=_FAILURE, first_pause=interval, retry_seconds=interval, last_step=True
        )

    def start(self) -> None:
        """Start the thread that writes."""
        self._thread.start()

    def close(self) -> None:
        """Write the buffer and stop the thread, waiting at most five seconds for the database."""
        self._thread.close()

    def add(self, result: KeptResult) -> None:
        """Add a result to the buffer, without I/O, in less than a microsecond."""
        if not self.keep:
            return
        with self._lock:
            self._buffer[result.id] = result
            self._bytes += result.logits.nbytes + result.head_cosine.nbytes
            results = len(self._buffer)
            if results > MAX_BUFFERED_RESULTS or self._bytes > MAX_BUFFERED_BYTES:
                self._drop_oldest()
        if results == FLUSH_RESULTS:
            self._thread.wake()

    def flush(self) -> int:
        """Write the buffer in one transaction, and return the number of results written.

        Raises:
            StorageUnavailableError: the database is unavailable; as many results as fit return to the buffer.

        """
        with self._one_flush:
            with self._lock:
                self._writing = self._buffer
                self._buffer = {}
                self._bytes = 0
            try:
                written = self._write(self._writing)
            except StorageUnavailableError:
                with self._lock:
                    self._maybe_written = frozenset(self._writing)
                    self._buffer = self._writing | self._buffer
                    self._bytes = sum(result.size for result in self._buffer.values())
                    self._drop_oldest()
                raise
            except Exception:
                self._count_dropped(self._writing.values())
                raise
            finally:
                self._writing = {}
        return written

    def forget(self, model: str, version: int) -> None:
        """Drop the buffered results of a model and version, after waiting for a write in progress."""
        with self._one_flush, self._lock:
            of_version = [
                result_id
                for result_id, result in self._buffer.items()
                if (result.model, result.version) == (model, version)
            ]
            self._count_dropped([self._buffer.pop(result_id) for result_id in of_version])
            self._bytes = sum(result.size for result in self._buffer.values())

    def delete_old(self) -> None:
        """Delete the results that are too old, and those beyond the number kept.

        Raises:
            StorageUnavailableError: the database is unavailable.

        """
        self._next_expiry = self.clock() + min(60.0, self.keep_seconds / 20)
        expired = delete(kept_chunks).where(kept_chunks.c.last_time < self.clock() - self.keep_seconds)
        self._database.run_sync(lambda connection: connection.execute(expired))
        self._trimmer.trim(self._database)

    def find(self, connection: Connection, ids: Iterable[str]) -> dict[str, KeptResult]:
        """Return the results with these ids that are in memory or in the database and not too old."""
        now = self.clock()
        fresh = [result_id for result_id in ids if now - time_of(result_id) <= self.keep_seconds]
        with self._lock:
            found = {i: r for i in fresh if (r := self._buffer.get(i) or self._writing.get(i)) is not None}
        return found | chunks.find(connection, [result_id for result_id in fresh if result_id not in found])

    def horizon(self, connection: Connection) -> float:
        """Return the time before which results may have been deleted or dropped.

        A missing result that is newer never existed.
        """
        full = chunks.oldest_of_full(connection, self.keep)
        return max([self.clock() - self.keep_seconds, self._dropped_until, *full])

    def recent_traffic(self, model: str, version: int, since: float | None = None) -> tuple[Float32, Float32]:
        """Return the network outputs of a model's recent results, oldest first: (N, C) logits, (N, K) head cosine.

        Args:
            model: the name.
            version: the version.
            since: seconds since 1970; None for all that are kept.

        Raises:
            StorageUnavailableError: the database is unavailable.

        """
        self.flush()
        oldest = self._oldest(since)
        return self._database.run_sync(lambda connection: chunks.read_outputs(connection, model, version, oldest))

    def predictions(
        self, connection: Connection, model: str, version: int, since: float | None = None
    ) -> NDArray[np.int64]:
        """Return (M, 3) counts of recent predictions: class at the alpha used, class at alpha 0, number of pictures."""
        return chunks.count_predictions(connection, model, version, self._oldest(since))

    def _oldest(self, since: float | None) -> float:
        return max(self.clock() - self.keep_seconds, since or 0.0)

    def _write(self, results: dict[str, KeptResult]) -> int:
        written: Collection[str] = ()
        if maybe_written := [result_id for result_id in self._maybe_written if result_id in results]:
            written = self._database.run_sync(lambda connection: chunks.find_ids(connection, maybe_written))
        rows = chunks.pack([result for result_id, result in results.items() if result_id not in written])
        if rows:
            self._database.run_sync(lambda connection: connection.execute(kept_chunks.insert(), rows))
        self._maybe_written = ()
        for row in rows:
            self._trimmer.count(row["model"], row["version"], row["images"])
        return len(results)

    def _drop_oldest(self) -> None:
        """Drop results until the buffer is within its bounds. The caller holds the lock."""
        dropped = []
        while len(self._buffer) > MAX_BUFFERED_RESULTS or self._bytes > MAX_BUFFERED_BYTES:
            oldest = self._buffer.pop(next(iter(self._buffer)))
            self._bytes -= oldest.size
            dropped.append(oldest)
        self._count_dropped(dropped)

    def _count_dropped(self, results: Iterable[KeptResult]) -> None:
        for result in results:
            self._metrics.results_dropped.labels(result.model).inc()
            self._dropped_until = max(self._dropped_until, time_of(result.id) + MILLISECOND)

    def _step(self) -> float:
        """Write the buffer and delete old results. A failure is logged when it begins and when it ends."""
        try:
            written = self.flush()
            self._trimmer.trim(self._database)
            if self.clock() >= self._next_expiry:
                self.delete_old()
        except StorageUnavailableError as error:
            if not self._failing:
                log.warning("up to %d results are buffered, classification continues: %s", MAX_BUFFERED_RESULTS, error)
            self._failing = True
        except Exception:
            if not self._failing:
                log.exception(_FAILURE)
            self._failing = True
        else:
            if self._failing and written:
                log.warning("results are kept again")
                self._failing = False
        return self.interval
