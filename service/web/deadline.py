"""How long a request gives itself: what is not answered by then leaves the line uncomputed, and is answered with 504.

A client says so with `timeout_ms`, or with the header `X-Request-Timeout` in seconds, which a proxy may add; the
earlier one counts.
"""

import asyncio
import math
from typing import Any

from fastapi import Request

from service.errors import DeadlineError, RequestError

__all__ = ["HEADER", "Deadline"]

HEADER = "x-request-timeout"
MAX_TEXT_LENGTH = 32
MAX_SECONDS = 86_400


class Deadline:
    """The time a request gives itself, from `async with` on. A generator would cost three times as much.

    Args:
        request: whose header may say how many seconds.
        timeout_ms: milliseconds that it says elsewhere.

    Raises:
        RequestError: that is no time; the sentence says what would be.
        DeadlineError: from `async with`, the time is over.

    """

    __slots__ = ("_seconds", "_timeout")

    def __init__(self, request: Request, timeout_ms: float | None = None) -> None:
        self._seconds = _seconds(request, timeout_ms)
        self._timeout = None if self._seconds is None else asyncio.timeout(self._seconds)

    async def __aenter__(self) -> None:
        if self._timeout is not None:
            await self._timeout.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        if self._timeout is None or self._seconds is None:
            return
        try:
            await self._timeout.__aexit__(*error)
        except TimeoutError as over:
            raise DeadlineError(f"not answered within {1000 * self._seconds:g} ms, as the request asked") from over


def _seconds(request: Request, timeout_ms: float | None) -> float | None:
    given = []
    if timeout_ms is not None:
        given.append(_checked(timeout_ms / 1000, "timeout_ms", timeout_ms))
    if (text := request.headers.get(HEADER)) is not None:
        try:
            seconds = float(text) if len(text) <= MAX_TEXT_LENGTH else math.nan
        except ValueError:
            seconds = math.nan
        given.append(_checked(seconds, "X-Request-Timeout", repr(text[:MAX_TEXT_LENGTH])))
    return min(given, default=None)


def _checked(seconds: float, name: str, shown: object) -> float:
    if not 0 < seconds <= MAX_SECONDS:
        raise RequestError(f"{name} is {shown}; give a number above 0, at most a day, or leave it out")
    return seconds
