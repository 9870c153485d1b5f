"""The table of jobs. Through it each process can report every job, and ask the process that runs one to stop it."""

import json
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Self

from sqlalchemy import Connection, delete, insert, select, update

from service.storage.database import Database
from service.storage.tables import jobs

__all__ = ["JobRecord", "JobState", "JobStore"]

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
KEEP_SECONDS = 24 * 3600.0
MAX_ENDED = 100  # jobs that are kept after their end, with some 20 kB of result each


class JobRecord(NamedTuple):
    """One row of the table; result and error are JSON values."""

    id: str
    model: str
    version: int
    state: JobState
    done: int
    total: int
    result: Any
    error: Any
    created: float
    updated: float
    finished: float | None
    cancel_requested: bool

    def row(self) -> dict[str, Any]:
        """Return the values of the columns."""
        texts = {name: None if (value := getattr(self, name)) is None else json.dumps(value) for name in _JSON}
        return self._asdict() | texts

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """Return the record of a row."""
        values = dict(row._mapping)
        return cls(**values | {name: values[name] and json.loads(values[name]) for name in _JSON})


_JSON = ("result", "error")


class JobStore:
    """The table of jobs.

    Args:
        database: the shared database.
        clock: returns seconds since 1970.

    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self.clock = clock

    async def add(self, record: JobRecord) -> None:
        """Insert a new job, and delete jobs that ended long ago.

        Raises:
            StorageUnavailableError: the database is unavailable.

        """

        def work(connection: Connection) -> None:
            old = jobs.c.updated < self.clock() - KEEP_SECONDS  # it has ended or is lost
            ended = jobs.c.finished.is_not(None)
            newest = select(jobs.c.id).where(ended).order_by(jobs.c.finished.desc()).limit(MAX_ENDED)
            connection.execute(delete(jobs).where(old | (ended & jobs.c.id.not_in(newest))))
            connection.execute(insert(jobs), record.row())

        await self._database.run(work)

    async def save(self, record: JobRecord) -> bool:
        """Update a job that has not ended, and return whether it should be cancelled.

        Raises:
            StorageUnavailableError: the database is unavailable.

        """
        values = {name: value for name, value in record.row().items() if name not in {"id", "cancel_requested"}}

        def work(connection: Connection) -> bool:  # a delayed update must not reopen an ended job
            unfinished = update(jobs).where(jobs.c.id == record.id, jobs.c.finished.is_(None))
            connection.execute(unfinished.values(values))
            return bool(connection.scalar(select(jobs.c.cancel_requested).where(jobs.c.id == record.id)))

        return await self._database.run(work)

    async def find(self, job_id: str) -> JobRecord | None:
        """Return a job, or None.

        Raises:
            StorageUnavailableError: the database is unavailable.

        """
        row = await self._database.run(lambda c: c.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none())
        return None if row is None else JobRecord.from_row(row)

    async def request_cancel(self, job_id: str) -> None:
        """Ask the process that runs a job to cancel it.

        Raises:
            StorageUnavailableError: the database is unavailable.

        """
        request = update(jobs).where(jobs.c.id == job_id).values(cancel_requested=True)
        await self._database.run(lambda connection: connection.execute(request))
