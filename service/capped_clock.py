"""A clock that advances by a bounded step between two readings, to measure how long others have taken.

If the whole process was stopped for an hour (a suspended machine, a debugger), every request and connection seems to
have taken an hour when it resumes. This clock does not count the time during which the process could not watch.
"""

__all__ = ["CappedClock"]


class CappedClock:
    """A monotonic clock that advances by at most `max_step` between two readings.

    Args:
        max_step: seconds.

    >>> clock = CappedClock(max_step=2.0)
    >>> [clock.read(now) for now in (100.0, 101.0, 3701.0)]
    [0.0, 1.0, 3.0]

    """

    def __init__(self, max_step: float) -> None:
        self._max_step = max_step
        self._elapsed = 0.0
        self._last = float("inf")

    def read(self, now: float) -> float:
        """Return the seconds counted so far.

        Args:
            now: in seconds, on a monotonic clock.

        """
        self._elapsed += max(0.0, min(now - self._last, self._max_step))
        self._last = now
        return self._elapsed
