"""Jobs in the database: whoever asks, any process can say how far a job is, and tell the one that runs it to stop."""

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
KEEP_ENDED = 100  # the newest, some 20 kB of answer each; one that waits or runs is never among those forgotten


class JobRecord(NamedTuple):
    """One job as the table has it; result and error are what JSON can hold."""

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
        """Return it as the table has it."""
        texts = {name: None if (value := getattr(self, name)) is None else json.dumps(value) for name in _JSON}
        return self._asdict() | texts

    @classmethod
    def of_row(cls, row: Any) -> Self:
        """Read a row of the table."""
        values = dict(row._mapping)
        return cls(**values | {name: values[name] and json.loads(values[name]) for name in _JSON})


_JSON = ("result", "error")


class JobStore:
    """The table of jobs.

    Args:
        database: where it is.
        clock: seconds since 1970.

    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self.clock = clock

    async def add(self, record: JobRecord) -> None:
        """Write a new job, and forget those that ended long ago.

        Raises:
            StorageUnavailableError: the database is away.

        """

        def work(connection: Connection) -> None:
            old = jobs.c.updated < self.clock() - KEEP_SECONDS  # nobody writes about it: ended, or lost
            ended = jobs.c.finished.is_not(None)
            newest = select(jobs.c.id).where(ended).order_by(jobs.c.finished.desc()).limit(KEEP_ENDED)
            connection.execute(delete(jobs).where(old | (ended & jobs.c.id.not_in(newest))))
            connection.execute(insert(jobs), record.row())

        await self._database.run(work)

    async def save(self, record: JobRecord) -> bool:
        """Write how far a job is; return whether somebody asked to cancel it.

        Raises:
            StorageUnavailableError: the database is away.

        """
        values = {name: value for name, value in record.row().items() if name not in {"id", "cancel_requested"}}

        def work(connection: Connection) -> bool:  # an earlier word that comes late does not reopen an ended job
            unfinished = update(jobs).where(jobs.c.id == record.id, jobs.c.finished.is_(None))
            connection.execute(unfinished.values(values))
            return bool(connection.scalar(select(jobs.c.cancel_requested).where(jobs.c.id == record.id)))

        return await self._database.run(work)

    async def find(self, job_id: str) -> JobRecord | None:
        """Return a job, or None.

        Raises:
            StorageUnavailableError: the database is away.

        """
        row = await self._database.run(lambda c: c.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none())
        return None if row is None else JobRecord.of_row(row)

    async def ask_to_cancel(self, job_id: str) -> None:
        """Leave word for the process that runs it.

        Raises:
            StorageUnavailableError: the database is away.

        """
        wish = update(jobs).where(jobs.c.id == job_id).values(cancel_requested=True)
        await self._database.run(lambda connection: connection.execute(wish))
