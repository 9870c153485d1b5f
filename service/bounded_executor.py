"""A thread pool that refuses work instead of queueing without limit, for the database, jobs and heavy queries."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

__all__ = ["BoundedExecutor"]

T = TypeVar("T")


class BoundedExecutor:
    """Threads that share one queue of bounded length.

    Args:
        name: the prefix of the threads' names.
        threads: the number of threads.
        max_tasks: the most tasks that run or wait at a time. A task that was cancelled before its turn does not count.
        refusal: makes the error for a task beyond that number.

    """

    def __init__(self, name: str, *, threads: int, max_tasks: int, refusal: Callable[[], Exception]) -> None:
        self._max_tasks = max_tasks
        self._refusal = refusal
        self._tasks: set[Future[Any]] = set()
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    @property
    def tasks(self) -> int:
        """The number of tasks that run or wait. A running task counts until it ends, even if its caller has left."""
        return len(self._tasks)

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        """Queue a task and return its future.

        Raises:
            Exception: the refusal, if the queue is full.
            RuntimeError: the executor is closed.

        """
        with self._lock:
            if len(self._tasks) >= self._max_tasks:
                raise self._refusal()
            future = self._executor.submit(work)
            self._tasks.add(future)
        future.add_done_callback(self._remove)  # which runs at once if the task has ended already
        return future

    async def run(self, work: Callable[[], T]) -> T:
        """Run a task and return its result. A caller that is cancelled before the task's turn frees its place.

        Raises:
            Exception: the refusal, if the queue is full.
            RuntimeError: the executor is closed.

        """
        return await asyncio.wrap_future(self.submit(work))

    def close(self, wait_seconds: float = 0.0) -> None:
        """Refuse new tasks, wait a bounded time for the others, and cancel those that still wait for a thread.

        Args:
            wait_seconds: the longest wait; 0 cancels waiting tasks at once.

        """
        self._executor.shutdown(wait=False)
        with self._lock:
            tasks = list(self._tasks)
        wait(tasks, wait_seconds)
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _remove(self, task: "Future[Any]") -> None:
        with self._lock:
            self._tasks.discard(task)
