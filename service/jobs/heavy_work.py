"""A line for work that is too heavy to run side by side: one piece at a time, a few may wait, the rest come back later.

Reading a million labels and laying their steps over alpha takes seconds and hundreds of megabytes. Several at once
would take those from classification and from labels that arrive.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from service.errors import OverloadedError

__all__ = ["MAX_INSIDE", "Line"]

T = TypeVar("T")
MAX_INSIDE = 4  # running and waiting


class Line:
    """One thread, and a short line before it."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="heavy")
        self._inside = 0
        self._lock = threading.Lock()

    async def run(self, work: Callable[[], T]) -> T:
        """Do a piece of work when its turn comes; whoever leaves before that leaves the line.

        Raises:
            OverloadedError: the line is full.

        """
        with self._lock:
            if self._inside >= MAX_INSIDE:
                raise OverloadedError(
                    f"{MAX_INSIDE} questions about many labels are being worked out; ask again in a moment"
                )
            self._inside += 1
        doing = self._executor.submit(work)
        doing.add_done_callback(self._one_less)
        return await asyncio.wrap_future(doing)

    def close(self) -> None:
        """Drop what waits; what runs is let run, and nobody waits for it."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _one_less(self, _: "Future[Any]") -> None:
        with self._lock:
            self._inside -= 1
