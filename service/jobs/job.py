"""A job of this process: its work, its progress and its state."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from service.jobs.store import JobRecord, JobState

__all__ = ["Job", "JobStoppedError", "Progress", "Report", "Work"]

Report = dict[str, Any]


class JobStoppedError(Exception):
    """The job was cancelled, or the server stops; the rest of the work is not needed."""


@dataclass(slots=True)
class Progress:
    """The progress of a job, counted by its work.

    Attributes:
        done: the number of items that are finished.
        total: the number of items, 0 if it is not known yet.
        stopped: set when the work should end.

    """

    done: int = 0
    total: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """End the work if it is not needed any more. Long computations call this often.

        Raises:
            JobStoppedError: the job was cancelled, or the server stops.

        """
        if self.stopped.is_set():
            raise JobStoppedError


async def _unchanged(report: Report) -> Report:
    return report


def _do_nothing() -> None:
    """Release nothing."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a job does.

    Args:
        run: computes the report; it may be cancelled at any time.
        finish: report -> result; stores what the request asked to store. It is never cancelled.
        close: releases what the job holds. It is called however the job ends, even if it never ran.

    """

    run: Callable[[Progress], Awaitable[Report]]
    finish: Callable[[Report], Awaitable[Report]] = _unchanged
    close: Callable[[], None] = _do_nothing


@dataclass(slots=True, eq=False)
class Job:
    """A job of this process.

    Attributes:
        id: 32 hexadecimal digits.
        model: the model's name.
        version: the model's version.
        request_id: the id of the request that submitted the job.
        created: seconds since 1970.
        progress: how far the work is.
        state: queued, running, done, failed or cancelled.
        result: the result of a job that is done.
        error: `code`, `message` and `request_id` of a job that failed.
        failure: the exception behind the error.
        finished: when the job ended, in seconds since 1970; None before.
        cancelled: whether a client cancelled it.
        finishing: whether the work is done and its result is being stored, so that it can no longer be cancelled.
        task: the task that runs the job.

    """

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
        """Return the row to store, updated at `now`."""
        return JobRecord(
            id=self.id,
            model=self.model,
            version=self.version,
            state=self.state,
            done=self.progress.done,
            total=self.progress.total,
            result=self.result,
            error=self.error,
            created=self.created,
            updated=now,
            finished=self.finished,
            cancel_requested=self.cancelled,
        )

    async def wait(self, seconds: float) -> bool:
        """Wait up to this many seconds for the job to end, and return whether it has ended."""
        if self.task is not None:
            await asyncio.wait({self.task}, timeout=seconds)
        return self.finished is not None

    def stop(self) -> None:
        """Stop the work, unless its result is being stored already."""
        if self.task is not None and not self.finishing:
            self.progress.stopped.set()
            self.task.cancel()
