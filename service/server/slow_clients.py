"""How long each connection may take: nobody may hold a place by doing nothing.

Every connection is looked at once a second. It is closed where a request's head does not arrive in time, where a body
or the taking of an answer makes too little progress for a while, and where it is being closed and does not end. What
the server itself is the cause of does not count. The hot path only counts bytes.
"""

import logging
import math
import resource
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from service.context import Context
from service.errors import SlowClientError
from service.settings import Settings

if TYPE_CHECKING:
    from service.server.connection import Connection

__all__ = ["Observation", "raise_file_limit", "sweep"]

log = logging.getLogger("longtail.server")
# on average, over body_seconds and ANSWER_SECONDS
BODY_BYTES_PER_SECOND = 10_000
ANSWER_BYTES_PER_SECOND = 1_000
ANSWER_SECONDS = 60.0
IDLE_SECONDS = 5.0  # uvicorn closes what is idle between two requests by then; a head may begin just before
END_SECONDS = 5.0  # for what is already on its way to the client
FILES_BESIDE = 256  # files open for anything but connections


class Observation(NamedTuple):
    """What a connection was seen doing, since when, and how far it had come then.

    Args:
        request: which one, None before the first.
        part: see `Connection.phase`.
        at: seconds.
        progress: bytes, see `Connection.progress`.

    """

    request: object
    part: str
    at: float
    progress: int


def sweep(connections: Iterable["Connection"], now: float, context: Context) -> None:
    """Refuse whoever takes too long, and show how many there are, and how much of their requests is in memory.

    Args:
        connections: all there are.
        now: in seconds, on a clock that stands still while the process does.
        context: the service's.

    """
    everybody = list(connections)
    context.metrics.connections.set(len(everybody))
    context.metrics.body_bytes.set(context.body_budget.held_bytes)
    for connection in everybody:
        (request, part) = connection.phase
        seen = connection.seen
        progress = connection.progress
        if seen is None or seen.request is not request or seen.part != part:
            connection.seen = Observation(request, part, now, progress)
            continue
        patience, rate = _patience(part, context.settings)
        took = now - seen.at
        if took <= patience:
            continue
        if progress - seen.progress >= took * rate or (part == "body" and connection.flow.read_paused):
            connection.seen = Observation(request, part, now, progress)  # the next stretch of time
        else:
            _cut_off(connection, part, took, progress - seen.progress)


def _patience(part: str, settings: Settings) -> tuple[float, float]:
    """Return how many seconds a part may take, and how many bytes a second buy as many again."""
    match part:
        case "surplus":
            return 0.0, math.inf
        case "head":
            return settings.head_seconds + IDLE_SECONDS, math.inf
        case "body":
            return settings.body_seconds, BODY_BYTES_PER_SECOND
        case "rest":
            return settings.body_seconds, math.inf
        case "answer":
            return ANSWER_SECONDS, ANSWER_BYTES_PER_SECOND
        case "end":
            return END_SECONDS, math.inf
        case _:
            return math.inf, math.inf


def _cut_off(connection: "Connection", part: str, took: float, progress: int) -> None:
    match part:
        case "surplus":
            connection.refuse_surplus()
        case "end":
            connection.transport.abort()
        case "head":
            connection.refuse(SlowClientError(f"the request's head has not arrived within {took:.0f} s"))
        case "answer":
            connection.refuse(SlowClientError(f"{progress} bytes of the answer were taken in {took:.0f} s"))
        case _:
            rate = f"send at least {BODY_BYTES_PER_SECOND} a second on average"
            connection.refuse(SlowClientError(f"{progress} bytes of the body in {took:.0f} s; {rate}"))


def raise_file_limit(connections: int) -> None:
    """Let this process, and those it starts, have as many files open as so many connections need, if it may."""
    needed = connections + FILES_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= needed:
        return
    most = needed if hard == unlimited else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < needed:
        log.warning(
            "%d connections need %d open files, but this process may have only %d (ulimit -n); "
            "beyond that they wait to be accepted",
            connections,
            needed,
            most,
        )
