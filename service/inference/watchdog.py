"""Looks after the threads that decode and compute, so that nobody waits for ever for one that hangs or has died.

A thread that hangs in a library cannot be ended from outside. What can be done: tell whoever waits for it, say at
/livez that this process is to be replaced, and let the other threads go on until it is.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from service.watched_clock import WatchedClock

__all__ = ["Watchdog", "WorkerThread"]

LOOK_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class WorkerThread:
    """A thread's place, what it works on at present, and whether it is given up."""

    thread: threading.Thread
    task: Any = None
    lost: bool = False


class Watchdog:
    """Finds threads that hang or have died; each is told of once.

    Args:
        desks: the threads.
        seconds: one that works on the same task for longer hangs; 0: no thread ever does.
        lost: called with the desk and, in words, what is wrong with its thread.

    """

    def __init__(
        self, desks: Sequence[WorkerThread], seconds: float, lost: Callable[[WorkerThread, str], None]
    ) -> None:
        self._desks = desks
        self._seconds = seconds
        self._tell = lost
        self._clock = WatchedClock(longest=2 * LOOK_SECONDS)
        self._since: dict[WorkerThread, tuple[Any, float]] = {}  # a desk's task, and when it was first seen
        self._lost: set[WorkerThread] = set()

    @property
    def nobody_is_left(self) -> bool:
        """All threads are lost."""
        return len(self._lost) == len(self._desks)

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            self.look(time.monotonic())
            await asyncio.sleep(LOOK_SECONDS)

    def look(self, now: float) -> None:
        """Look at every thread.

        Args:
            now: in seconds, on a clock that never goes back.

        """
        watched = self._clock.at(now)
        for desk in self._desks:
            if desk not in self._lost and (trouble := self._trouble(desk, watched)) is not None:
                self._lost.add(desk)
                self._tell(desk, trouble)

    def _trouble(self, desk: WorkerThread, now: float) -> str | None:
        if not desk.thread.is_alive():
            return f"thread {desk.thread.name} has died"
        task = desk.task
        known, since = self._since.get(desk, (None, 0.0))
        if task is not known:
            self._since[desk] = task, now
        elif task is not None and 0 < self._seconds < now - since:
            return f"thread {desk.thread.name} has been busy with one task for {now - since:.0f} s"
        return None
