"""Work that takes longer than a request: one job at a time in each process, a short line before it, progress for all.

A job's state lies in the database, so any process or replica answers for it. The process that runs it writes how far it
is every second; a job nobody has written about for a while is lost: its process has ended.

A job is cancelled until it has its result; what it then stores (an operating point) is stored whole, and the job is
done. Arithmetic runs in a thread of its own, which asks now and then whether it is still wanted.
"""

import asyncio
import logging
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from models.errors import LongtailError
from service.errors import (
    JobLostError,
    OverloadedError,
    ServiceError,
    StorageUnavailableError,
    UnknownJobError,
    describe,
)
from service.jobs.store import KEEP_ENDED, JobRecord, JobState, JobStore

__all__ = ["Job", "Jobs", "Progress"]

log = logging.getLogger("longtail.jobs")
BEAT_SECONDS = 1.0
LOST_SECONDS = 30.0
MAX_OPEN = 8  # running and waiting, in this process
MAX_UPLOADS = 8  # large bodies that are being read, of jobs that do not wait yet
KEEP_IN_MEMORY = 32  # ended ones, whose results stay at hand also while the database is away
CLOSE_SECONDS = 5.0
_ID = re.compile(r"[0-9a-f]{32}")


class JobStoppedError(Exception):
    """Nobody wants the rest of this work."""


@dataclass(slots=True)
class Progress:
    """How far a job is, which whoever does the work counts; and whether it is still wanted."""

    done: int = 0
    total: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Return, or end the work that asks.

        Raises:
            JobStoppedError: the job was cancelled, or the server stops.

        """
        if self.stopped.is_set():
            raise JobStoppedError


Report = dict[str, Any]
T = TypeVar("T")


async def _as_it_is(report: Report) -> Report:
    return report


def _nothing() -> None:
    """Let go of nothing."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a job does.

    Args:
        run: the work, which may be cancelled.
        finish: report -> result: what is stored of it; never cut off in the middle.
        close: lets go of what the job holds, however it ended, also where it never began.

    """

    run: Callable[[Progress], Awaitable[Report]]
    finish: Callable[[Report], Awaitable[Report]] = _as_it_is
    close: Callable[[], None] = _nothing


@dataclass(slots=True, eq=False)
class Job:
    """A job of this process."""

    id: str
    model: str
    version: int
    request_id: str
    created: float
    progress: Progress = field(default_factory=Progress)
    state: JobState = "queued"
    result: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    failure: Exception | None = None
    finished: float | None = None
    cancelled: bool = False
    finishing: bool = False
    task: "asyncio.Task[None] | None" = None

    def record(self, now: float) -> JobRecord:
        """Return it as it is stored."""
        done = self.progress.done
        total = self.progress.total
        head = (self.id, self.model, self.version, self.state, done, total, self.result, self.error)
        return JobRecord(*head, self.created, now, self.finished, self.cancelled)

    async def wait(self, seconds: float) -> bool:
        """Wait for its end for so long at most; return whether it has ended."""
        if self.task is not None:
            await asyncio.wait({self.task}, timeout=seconds)
        return self.finished is not None

    def stop(self) -> None:
        """Cancel it, where it has no result yet."""
        if self.task is not None and not self.finishing:
            self.progress.stopped.set()
            self.task.cancel()


class Jobs:
    """The jobs of this process, and the way to those of others.

    Args:
        store: where they are kept.

    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._open: dict[str, Job] = {}
        self._ended: OrderedDict[str, Job] = OrderedDict()
        self._uploads = 0
        self._turn = asyncio.Lock()
        self._arithmetic = ThreadPoolExecutor(1, thread_name_prefix="job")
        self._unsaved: set[asyncio.Task[None]] = set()

    @contextmanager
    def upload(self) -> Iterator[None]:
        """Hold a place for a large body while it is read.

        Raises:
            OverloadedError: enough are being read already, or the line is full.

        """
        self._check_line()
        if self._uploads >= MAX_UPLOADS:
            raise OverloadedError(f"{MAX_UPLOADS} archives are being uploaded already; try again when one has come")
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    async def compute(self, function: Callable[[], T]) -> T:
        """Return what a function gives, run in the one thread that jobs have."""
        return await asyncio.get_running_loop().run_in_executor(self._arithmetic, function)

    async def submit(self, model: str, version: int, request_id: str, work: Work) -> Job:
        """Put work in line; it is recorded before this returns.

        Raises:
            OverloadedError: the line is full.
            StorageUnavailableError: the database is away.

        """
        try:
            self._check_line()
        except OverloadedError:
            work.close()
            raise
        job = Job(secrets.token_hex(16), model, version, request_id, self._store.clock())
        self._open[job.id] = job
        try:
            await self._store.add(job.record(job.created))
        except BaseException:
            del self._open[job.id]
            work.close()
            raise
        job.task = asyncio.create_task(self._run(job, work), name=f"job-{job.id}")
        await asyncio.sleep(0)  # it begins: a task that is cancelled before that could not say how it ended
        return job

    async def find(self, job_id: str) -> JobRecord:
        """Return a job as it stands.

        Raises:
            UnknownJobError: there is none of that id, or it ended too long ago.
            StorageUnavailableError: the database is away, and it is not this process's.

        """
        if job := self._open.get(job_id) or self._ended.get(job_id):
            return job.record(self._store.clock())
        record = await self._store.find(job_id) if _ID.fullmatch(job_id) else None
        if record is None:
            raise UnknownJobError(
                f"there is no job {job_id[:64]!r}; the last {KEEP_ENDED} that ended are kept for a day"
            )
        if record.finished is None and self._store.clock() - record.updated > LOST_SECONDS:
            lost = describe(JobLostError("the process that ran this job ended; start it again"))
            return record._replace(state="failed", error={"code": lost.code, "message": lost.message, "request_id": ""})
        return record

    async def cancel(self, job_id: str) -> JobRecord:
        """Stop a job, wherever it runs; one that has ended stays as it is.

        Raises:
            UnknownJobError, StorageUnavailableError: as `find`.

        """
        if job := self._open.get(job_id):
            job.cancelled = not job.finishing
            job.stop()
            await job.wait(CLOSE_SECONDS)
        elif (record := await self.find(job_id)).finished is None and record.state != "failed":
            await self._store.ask_to_cancel(job_id)
        return await self.find(job_id)

    async def close(self) -> None:
        """Stop what runs; it is stored as failed, as far as the database is there. What has its result is finished."""
        tasks = [job.task for job in self._open.values() if job.task is not None]
        for job in list(self._open.values()):
            job.stop()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
        for task in self._unsaved:
            task.cancel()
        self._arithmetic.shutdown(wait=False, cancel_futures=True)

    def _check_line(self) -> None:
        if len(self._open) >= MAX_OPEN:
            raise OverloadedError(f"{MAX_OPEN} jobs are running or waiting already; try again when one has ended")

    async def _run(self, job: Job, work: Work) -> None:
        beating = asyncio.create_task(self._beat(job))
        try:
            async with self._turn:
                job.state = "running"
                report = await work.run(job.progress)
                job.finishing = True
                job.result = await work.finish(report)
                job.state = "done"
        except (asyncio.CancelledError, JobStoppedError):
            job.state = "cancelled" if job.cancelled else "failed"
            if not job.cancelled:
                self._fail(job, JobLostError("the server was stopped before this job was done; start it again"))
        except (ServiceError, LongtailError) as error:
            self._fail(job, error)
        except Exception as error:
            log.exception("job %s of request %s failed", job.id, job.request_id)
            self._fail(job, error)
        finally:
            work.close()
            beating.cancel()
            job.finished = self._store.clock()
            del self._open[job.id]
            self._ended[job.id] = job
            while len(self._ended) > KEEP_IN_MEMORY:
                self._ended.popitem(last=False)
            await self._save_end(job)

    async def _save_end(self, job: Job) -> None:
        """Store how a job ended; while the database is away this process knows it, and tries again."""
        record = job.record(job.finished or self._store.clock())
        try:
            await self._store.save(record)
        except StorageUnavailableError:
            later = asyncio.create_task(self._save_later(record))
            self._unsaved.add(later)
            later.add_done_callback(self._unsaved.discard)

    async def _save_later(self, record: JobRecord) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            with suppress(StorageUnavailableError):
                await self._store.save(record)
                return

    def _fail(self, job: Job, error: Exception) -> None:
        job.state = "failed"
        job.failure = error
        answer = describe(error)
        job.error = {"code": answer.code, "message": answer.message, "request_id": job.request_id}

    async def _beat(self, job: Job) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            with suppress(StorageUnavailableError):
                if await self._store.save(job.record(self._store.clock())) and not job.finishing:
                    job.cancelled = True
                    job.stop()
