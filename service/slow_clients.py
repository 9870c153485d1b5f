"""How long each connection may take: nobody may hold a place by doing nothing.

Every connection is looked at once a second. It is closed where a request's head does not arrive in time, where its body
comes too slowly (`body_seconds`, and one more for every 10 kB), and where the client does not take its answer. What the
server itself is the cause of does not count. The hot path only counts bytes.
"""

import logging
import resource
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from service.context import Context
from service.errors import SlowClientError
from service.settings import Settings

if TYPE_CHECKING:
    from service.protocol import Protocol

__all__ = ["Seen", "raise_file_limit", "sweep"]

log = logging.getLogger("longtail.server")
BODY_BYTES_PER_SECOND = 10_000
ANSWER_SECONDS = 60.0  # without the client taking any of its answer
IDLE_SECONDS = 5.0  # uvicorn closes what is idle between two requests by then; a head may begin just before
FILES_BESIDE = 256  # files open for anything but connections


class Seen(NamedTuple):
    """What a connection was first seen doing, and when.

    Args:
        phase: which part of which request; another one for every part.
        at: seconds.
        received: bytes of bodies that had come on the connection by then.
    """

    phase: tuple[Any, str]
    at: float
    received: int


def sweep(connections: Iterable["Protocol"], now: float, context: Context) -> None:
    """Refuse whoever takes too long, and count the others.

    Args:
        connections: all there are.
        now: in seconds, on a clock that stands still while the process does.
        context: the service's.
    """
    everybody = list(connections)
    context.metrics.connections.set(len(everybody))
    for connection in everybody:
        phase = connection.phase
        if connection.seen is None or connection.seen.phase != phase:
            connection.seen = Seen(phase, now, connection.received)
        elif (problem := _problem(connection, connection.seen, now, context.settings)) is not None:
            connection.refuse(SlowClientError(problem))


def _problem(connection: "Protocol", seen: Seen, now: float, settings: Settings) -> str | None:
    """Return what takes too long, in words; None where nothing does."""
    took, (_, part) = now - seen.at, seen.phase
    if part == "head" and took > settings.head_seconds + IDLE_SECONDS:
        return f"the request's head has not arrived within {settings.head_seconds:g} s"
    if part == "body" and not connection.flow.read_paused:
        received = connection.received - seen.received
        if took > settings.body_seconds + received / BODY_BYTES_PER_SECOND:
            return f"{received} bytes of the body in {took:.0f} s; send at least {BODY_BYTES_PER_SECOND} a second"
    if part == "answer" and took > ANSWER_SECONDS:
        return f"nothing of the answer has been taken for {ANSWER_SECONDS:g} s"
    return None


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
