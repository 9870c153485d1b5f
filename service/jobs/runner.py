"""Runs jobs: one at a time in each process, with a short queue.

A job's state is in the database, so every process and replica can report it. The process that runs the job writes its
progress every second. If a job's row is not updated for some time, its process has ended and the job is lost.

A job can be cancelled until it has its result. The result is then stored whole (for example an operating point), and
the job is done. Computations run in a thread of their own, and check often whether the job was cancelled.
"""

import asyncio
import logging
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from models.errors import LongtailError
from service.bounded_executor import BoundedExecutor
from service.errors import (
    JobLostError,
    OverloadedError,
    ServiceError,
    StorageUnavailableError,
    UnknownJobError,
    describe,
)
from service.jobs.job import Job, JobStoppedError, Work
from service.jobs.store import MAX_ENDED, JobRecord, JobStore

__all__ = ["JobRunner"]

log = logging.getLogger("longtail.jobs")
T = TypeVar("T")
UPDATE_SECONDS = 1.0  # between two writes of a running job's progress
LOST_SECONDS = 30.0  # without an update, after which a job is lost
MAX_OPEN = 8  # jobs that run or wait in this process
MAX_UPLOADS = 8  # request bodies that are read for jobs that are not queued yet
MAX_ENDED_IN_MEMORY = 32  # ended jobs that this process can report without the database
MAX_STOP_SECONDS = 5.0
_ID = re.compile(r"[0-9a-f]{32}")


class JobRunner:
    """Runs this process's jobs, and reports and cancels those of every process.

    Args:
        store: the table of jobs.

    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._open: dict[str, Job] = {}
        self._ended: OrderedDict[str, Job] = OrderedDict()
        self._uploads = 0
        self._one_at_a_time = asyncio.Lock()
        self._executor = BoundedExecutor("job", threads=1, max_tasks=MAX_OPEN, refusal=_too_many_jobs)
        self._saving_later: set[asyncio.Task[None]] = set()

    @contextmanager
    def upload(self) -> Iterator[None]:
        """Reserve one of the places for request bodies that are being read.

        Raises:
            OverloadedError: all places are taken, or the queue is full.

        """
        self._check_queue()
        if self._uploads >= MAX_UPLOADS:
            raise OverloadedError(f"{MAX_UPLOADS} archives are being uploaded already; retry when one is complete")
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    async def compute(self, function: Callable[[], T]) -> T:
        """Run a function in the thread for jobs, and return its result."""
        return await self._executor.run(function)

    async def submit(self, model: str, version: int, request_id: str, work: Work) -> Job:
        """Queue a job, after storing its row.

        Raises:
            OverloadedError: the queue is full.
            StorageUnavailableError: the database is unavailable.

        """
        try:
            self._check_queue()
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
        await asyncio.sleep(0)  # lets the task begin: one that is cancelled before cannot record how it ended
        return job

    async def find(self, job_id: str) -> JobRecord:
        """Return a job's current state.

        Raises:
            UnknownJobError: there is no such job, or it ended too long ago.
            StorageUnavailableError: another process runs the job, and the database is unavailable.

        """
        if job := self._open.get(job_id) or self._ended.get(job_id):
            return job.record(self._store.clock())
        record = await self._store.find(job_id) if _ID.fullmatch(job_id) else None
        if record is None:
            raise UnknownJobError(
                f"there is no job {job_id[:64]!r}; the last {MAX_ENDED} jobs that ended are kept for a day"
            )
        if record.finished is None and self._store.clock() - record.updated > LOST_SECONDS:
            lost = describe(JobLostError("the process that ran this job ended; submit it again"))
            error = {"code": lost.code, "message": lost.message, "request_id": ""}
            return record._replace(state="failed", error=error)
        return record

    async def cancel(self, job_id: str) -> JobRecord:
        """Stop a job of any process. A job that has ended is not changed.

        Raises:
            UnknownJobError, StorageUnavailableError: as `find`.

        """
        if job := self._open.get(job_id):
            job.cancelled = not job.finishing
            job.stop()
            await job.wait(MAX_STOP_SECONDS)
        elif (record := await self.find(job_id)).finished is None and record.state != "failed":
            await self._store.request_cancel(job_id)
        return await self.find(job_id)

    async def close(self) -> None:
        """Stop the jobs, waiting up to five seconds. Jobs without a result are stored as failed, if possible."""
        tasks = [job.task for job in self._open.values() if job.task is not None]
        for job in list(self._open.values()):
            job.stop()
        if tasks:
            await asyncio.wait(tasks, timeout=MAX_STOP_SECONDS)
        for task in self._saving_later:
            task.cancel()
        self._executor.close()

    def _check_queue(self) -> None:
        if len(self._open) >= MAX_OPEN:
            raise _too_many_jobs()

    async def _run(self, job: Job, work: Work) -> None:
        updating = asyncio.create_task(self._update_regularly(job))
        try:
            async with self._one_at_a_time:
                job.state = "running"
                report = await work.run(job.progress)
                job.finishing = True
                job.result = await work.finish(report)
                job.state = "done"
        except (asyncio.CancelledError, JobStoppedError):
            job.state = "cancelled" if job.cancelled else "failed"
            if not job.cancelled:
                self._fail(job, JobLostError("the server was stopped before this job was done; submit it again"))
        except (ServiceError, LongtailError) as error:
            self._fail(job, error)
        except Exception as error:
            log.exception("job %s of request %s failed", job.id, job.request_id)
            self._fail(job, error)
        finally:
            work.close()
            updating.cancel()
            job.finished = self._store.clock()
            del self._open[job.id]
            self._ended[job.id] = job
            while len(self._ended) > MAX_ENDED_IN_MEMORY:
                self._ended.popitem(last=False)
            await self._save_ended(job)

    async def _save_ended(self, job: Job) -> None:
        """Store how a job ended. If the database is unavailable, try again in the background."""
        record = job.record(job.finished or self._store.clock())
        try:
            await self._store.save(record)
        except StorageUnavailableError:
            later = asyncio.create_task(self._save_later(record))
            self._saving_later.add(later)
            later.add_done_callback(self._saving_later.discard)

    async def _save_later(self, record: JobRecord) -> None:
        while True:
            await asyncio.sleep(UPDATE_SECONDS)
            with suppress(StorageUnavailableError):
                await self._store.save(record)
                return

    def _fail(self, job: Job, error: Exception) -> None:
        answer = describe(error)
        job.state = "failed"
        job.failure = error
        job.error = {"code": answer.code, "message": answer.message, "request_id": job.request_id}

    async def _update_regularly(self, job: Job) -> None:
        """Store the progress every second, and stop the job if another process was asked to cancel it."""
        while True:
            await asyncio.sleep(UPDATE_SECONDS)
            with suppress(StorageUnavailableError):
                if await self._store.save(job.record(self._store.clock())) and not job.finishing:
                    job.cancelled = True
                    job.stop()


def _too_many_jobs() -> OverloadedError:
    return OverloadedError(f"{MAX_OPEN} jobs are running or waiting already; retry when one has ended")
