"""Finds worker threads that hang or have died, so that no request waits for one forever.

A thread that hangs in a library cannot be stopped from outside. Instead, the worker fails the task that the thread was
working on, /livez reports that this process must be replaced, and the other threads continue until it is.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from service.capped_clock import CappedClock

__all__ = ["Watchdog", "WorkerThread"]

CHECK_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class WorkerThread:
    """A thread that decodes and computes.

    Args:
        thread: the thread itself.
        task: what it is working on, None if it is idle.
        lost: it hangs or has died, so its result is ignored.

    """

    thread: threading.Thread
    task: Any = None
    lost: bool = False


class Watchdog:
    """Finds threads that hang or have died, and reports each of them once.

    Args:
        threads: the threads to watch.
        stuck_seconds: a thread that works on the same task for longer hangs; 0 finds only threads that have died.
        on_lost: called with the thread and the reason.

    """

    def __init__(
        self, threads: Sequence[WorkerThread], stuck_seconds: float, on_lost: Callable[[WorkerThread, str], None]
    ) -> None:
        self._threads = threads
        self._stuck_seconds = stuck_seconds
        self._on_lost = on_lost
        self._clock = CappedClock(max_step=2 * CHECK_SECONDS)
        self._seen: dict[WorkerThread, tuple[Any, float]] = {}  # a thread's task, and when it was first seen
        self._lost: set[WorkerThread] = set()

    @property
    def all_lost(self) -> bool:
        """Whether all threads are lost."""
        return len(self._lost) == len(self._threads)

    async def run(self) -> None:
        """Check once a second, until cancelled."""
        while True:
            self.check(time.monotonic())
            await asyncio.sleep(CHECK_SECONDS)

    def check(self, now: float) -> None:
        """Check every thread.

        Args:
            now: seconds on a monotonic clock.

        """
        watched = self._clock.read(now)
        for worker_thread in self._threads:
            if worker_thread not in self._lost and (reason := self._reason(worker_thread, watched)) is not None:
                self._lost.add(worker_thread)
                self._on_lost(worker_thread, reason)

    def _reason(self, worker_thread: WorkerThread, now: float) -> str | None:
        """Return why a thread is lost, None if it is not."""
        name = worker_thread.thread.name
        if not worker_thread.thread.is_alive():
            return f"thread {name} has died"
        task = worker_thread.task
        seen, since = self._seen.get(worker_thread, (None, 0.0))
        if task is not seen:
            self._seen[worker_thread] = task, now
        elif task is not None and 0 < self._stuck_seconds < now - since:
            return f"thread {name} has been busy with one task for {now - since:.0f} s"
        return None
