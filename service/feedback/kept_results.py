"""The numbers of recent results, kept for a while so that a label which comes back later finds them.

Classification hands a result over and goes on: it lands in a bounded buffer in memory, and a thread writes the buffer
to the database in one transaction several times a second, as chunks (`chunks.py`). The database is shared, so any
process finds any result once it is written. While the database is away the buffer drops its oldest results, counts
them, and nobody waits.
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
from service.result_ids import time_of
from service.storage.database import Database, StorageUnavailableError
from service.storage.tables import kept_chunks

__all__ = ["FLUSH_SECONDS", "KeptResult", "KeptResults"]

log = logging.getLogger("longtail.results")
FLUSH_SECONDS = 0.25
FLUSH_ROWS = 2048  # are written at once, whenever the last write was
MAX_WAITING_ROWS = 8192
MAX_WAITING_BYTES = 64 * 2**20
CLOSE_SECONDS = 5.0
MILLISECOND = 0.001  # how finely an id tells its time
Float32 = NDArray[np.float32]


class KeptResults:
    """Results in memory and in the database.

    Args:
        database: where they are kept.
        metrics: where dropped results are counted.
        keep: how many results of one model and version stay; 0 keeps none.
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
        self.interval = interval
        self.keep = keep
        self.keep_seconds = keep_seconds
        self.clock = clock
        self._database = database
        self._metrics = metrics
        self._waiting: dict[str, KeptResult] = {}
        self._writing: dict[str, KeptResult] = {}
        self._in_doubt: Collection[str] = ()  # ids of a write that failed: perhaps it was committed all the same
        self._bytes = 0
        self._dropped_until = 0.0
        self._lock = threading.Lock()
        self._one_flush = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._in_trouble = False
        self._trimmer = chunks.ChunkTrimmer(keep)
        self._next_expiry = 0.0
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
        """Take a result; no I/O, less than a microsecond."""
        if not self.keep:
            return
        with self._lock:
            self._waiting[result.id] = result
            self._bytes += result.logits.nbytes + result.head_cosine.nbytes
            rows = len(self._waiting)
            if rows > MAX_WAITING_ROWS or self._bytes > MAX_WAITING_BYTES:
                self._shrink()
        if rows == FLUSH_ROWS:
            self._wake.set()

    def flush(self) -> int:
        """Write what waits in one transaction, and return how many results that were.

        Raises:
            StorageUnavailableError: the database is away; what waited waits on, as far as there is room.

        """
        with self._one_flush:
            with self._lock:
                self._writing = self._waiting
                self._waiting = {}
                self._bytes = 0
            try:
                written = self._write(self._writing)
            except StorageUnavailableError:
                with self._lock:
                    self._in_doubt = frozenset(self._writing)
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
        expired = delete(kept_chunks).where(kept_chunks.c.last_time < self.clock() - self.keep_seconds)
        self._database.run_sync(lambda connection: connection.execute(expired))
        self._trimmer.trim(self._database)

    def find(self, connection: Connection, ids: Iterable[str]) -> dict[str, KeptResult]:
        """Return those of the results that are kept, here or in the database, and are not too old."""
        now = self.clock()
        fresh = [result_id for result_id in ids if now - time_of(result_id) <= self.keep_seconds]
        with self._lock:
            found = {i: r for i in fresh if (r := self._waiting.get(i) or self._writing.get(i)) is not None}
        return found | chunks.find(connection, [result_id for result_id in fresh if result_id not in found])

    def horizon(self, connection: Connection) -> float:
        """Return the time before which results may have been deleted or dropped; one given later was never kept."""
        full = chunks.oldest_of_full(connection, self.keep)
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
        oldest = self._oldest(since)
        return self._database.run_sync(lambda connection: chunks.read_numbers(connection, model, version, oldest))

    def predictions(
        self, connection: Connection, model: str, version: int, since: float | None = None
    ) -> NDArray[np.int64]:
        """Return what recent pictures were taken for, (M, 3): class at the alpha used, class at alpha 0, pictures."""
        return chunks.count_predictions(connection, model, version, self._oldest(since))

    def _oldest(self, since: float | None) -> float:
        return max(self.clock() - self.keep_seconds, since or 0.0)

    def _write(self, results: dict[str, KeptResult]) -> int:
        there: Collection[str] = ()
        if in_doubt := [each for each in self._in_doubt if each in results]:
            there = self._database.run_sync(lambda connection: chunks.found_among(connection, in_doubt))
        rows = chunks.pack([each for result_id, each in results.items() if result_id not in there])
        if rows:
            self._database.run_sync(lambda connection: connection.execute(kept_chunks.insert(), rows))
        self._in_doubt = ()
        for row in rows:
            self._trimmer.count(row["model"], row["version"], row["images"])
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
