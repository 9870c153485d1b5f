"""Seconds that were really watched: a clock for whoever looks now and then how long something has taken.

A process that was stopped for an hour (a suspended machine, a debugger) finds, when it goes on, that everything has
taken an hour; but nobody was slow, except itself.
"""

__all__ = ["WatchedClock"]


class WatchedClock:
    """Goes no further between two looks than one may take.

    Args:
        longest: seconds.

    >>> clock = WatchedClock(longest=2.0)
    >>> [clock.at(now) for now in (100.0, 101.0, 3701.0)]
    [0.0, 1.0, 3.0]

    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._watched = 0.0
        self._looked_at = float("inf")

    def at(self, now: float) -> float:
        """Return the seconds watched so far.

        Args:
            now: in seconds, on a clock that never goes back.

        """
        self._watched += max(0.0, min(now - self._looked_at, self._longest))
        self._looked_at = now
        return self._watched
