"""Deadlines that requests set themselves. A request that misses its deadline leaves the queue and is answered with 504.

A client sets one with `timeout_ms` or with the header `X-Request-Timeout`, in seconds, which a proxy may add. The
earlier one applies.
"""

import asyncio
import math
from typing import Any, Self

from fastapi import Request

from service.errors import DeadlineError, RequestError

__all__ = ["HEADER", "Deadline"]

HEADER = "x-request-timeout"
MAX_TEXT_LENGTH = 32
MAX_SECONDS = 86_400


class Deadline:
    """An async context manager that ends its block when the request's time is over.

    It is a class because a generator would take three times as long.

    Args:
        request: its header may set a deadline.
        timeout_ms: milliseconds; None if the request does not set this parameter.

    Raises:
        RequestError: a deadline is not a number of seconds up to a day.
        DeadlineError: on leaving the block, if the time is over.

    """

    __slots__ = ("_seconds", "_timeout")

    def __init__(self, request: Request, timeout_ms: float | None = None) -> None:
        self._seconds = _seconds(request, timeout_ms)
        self._timeout = None if self._seconds is None else asyncio.timeout(self._seconds)

    async def __aenter__(self) -> Self:
        if self._timeout is not None:
            await self._timeout.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        if self._timeout is None or self._seconds is None:
            return
        try:
            await self._timeout.__aexit__(*error)
        except TimeoutError as timeout:
            raise DeadlineError(f"not answered within {1000 * self._seconds:g} ms, as the request asked") from timeout

    async def shorten(self, timeout_ms: float | None, elapsed: float) -> None:
        """Apply a deadline that the request's body sets, if it is earlier; call this inside the block.

        Args:
            timeout_ms: milliseconds since the request began; None changes nothing.
            elapsed: seconds since then.

        """
        if timeout_ms is None:
            return
        seconds = _checked(timeout_ms / 1000, "timeout_ms", timeout_ms)
        if self._seconds is not None and self._seconds <= seconds:
            return
        self._seconds = seconds
        end = asyncio.get_running_loop().time() + seconds - elapsed
        if self._timeout is None:
            self._timeout = asyncio.timeout_at(end)
            await self._timeout.__aenter__()
        else:
            self._timeout.reschedule(end)


def _seconds(request: Request, timeout_ms: float | None) -> float | None:
    deadlines = []
    if timeout_ms is not None:
        deadlines.append(_checked(timeout_ms / 1000, "timeout_ms", timeout_ms))
    for text in request.headers.getlist(HEADER):  # a proxy may add one to the client's
        try:
            seconds = float(text) if len(text) <= MAX_TEXT_LENGTH else math.nan
        except ValueError:
            seconds = math.nan
        deadlines.append(_checked(seconds, "X-Request-Timeout", repr(text[:MAX_TEXT_LENGTH])))
    return min(deadlines, default=None)


def _checked(seconds: float, name: str, shown: object) -> float:
    if not 0 < seconds <= MAX_SECONDS:
        raise RequestError(f"{name} is {shown}; give a number above 0, up to one day, or leave it out")
    return seconds
