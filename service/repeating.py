"""One background thread that repeats a step: the catalog, stored results, operating points and drift each have one.

The step decides how long to pause. Another thread can end the pause early. A step that raises is logged, and the thread
continues. Closing waits for a bounded time, because a step may hang in a database or a file system.
"""

import logging
import threading
from collections.abc import Callable

__all__ = ["Repeating"]

log = logging.getLogger("longtail.repeating")
CLOSE_SECONDS = 5.0
RETRY_SECONDS = 1.0


class Repeating:
    """A daemon thread that calls a step until it is closed.

    Args:
        name: the thread's name.
        step: the work of one round; returns the seconds until the next round, or None to pause until `wake`.
        failure: the log message for a step that raises. It is logged once, and again only after a step has succeeded.
        first_pause: seconds before the first round.
        retry_seconds: the pause after a step that raises.
        last_step: whether the thread runs the step once more after `close`.

    """

    def __init__(
        self,
        name: str,
        step: Callable[[], float | None],
        *,
        failure: str,
        first_pause: float = 0.0,
        retry_seconds: float = RETRY_SECONDS,
        last_step: bool = False,
    ) -> None:
        self._step = step
        self._failure = failure
        self._first_pause = first_pause
        self._retry_seconds = retry_seconds
        self._last_step = last_step
        self._failing = False
        self._closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def closing(self) -> bool:
        """Whether `close` was called."""
        return self._closing

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """End the current pause; during a step, skip the next one."""
        self._wake.set()

    def close(self, wait_seconds: float = CLOSE_SECONDS) -> None:
        """Stop the thread, waiting a bounded time for the step in progress.

        Args:
            wait_seconds: the longest wait. A thread that takes longer ends with the process.

        """
        self._closing = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(wait_seconds)

    def _run(self) -> None:
        pause: float | None = self._first_pause
        while True:
            self._wake.wait(pause)
            self._wake.clear()  # before the check: `close` sets the flag first, so its wake-up is never lost
            if self._closing:
                break
            pause = self._run_step()
        if self._last_step:
            self._run_step()

    def _run_step(self) -> float | None:
        try:
            pause = self._step()
        except Exception:
            if not self._failing:
                log.exception(self._failure)
            self._failing = True
            return self._retry_seconds
        self._failing = False
        return pause
