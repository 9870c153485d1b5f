"""Time limits for clients: a client must not occupy a connection by doing nothing.

Once a second, every connection is checked. The server refuses one whose request head does not arrive in time, whose
body or answer moves too slowly, or which does not close when it should. Time that the server itself takes does not
count against the client. The hot path only counts bytes.

A timer closes a connection that has been idle for `keep_alive_seconds`. If all connections are in use, those that have
been idle for longest are closed earlier, so that clients which keep connections open do not keep others out.
"""

import math
from collections.abc import Collection
from typing import NamedTuple, Protocol

from service.errors import ServiceError, SlowClientError
from service.inference.admission import BodyBudget
from service.metrics import Metrics
from service.server.connection_phase import Phase
from service.settings import Settings

__all__ = ["SlowClients", "WatchedConnection"]

# averages over body_seconds and ANSWER_SECONDS
BODY_BYTES_PER_SECOND = 10_000
ANSWER_BYTES_PER_SECOND = 1_000
ANSWER_SECONDS = 60.0
CLOSING_SECONDS = 5.0  # for data still in flight to the client
FREE_SHARE = 1 / 8  # of max_connections, freed by closing idle connections once all are in use


class WatchedConnection(Protocol):
    """What the check needs from a connection."""

    @property
    def phase(self) -> tuple[object, Phase]:
        """The newest request, None before the first, and what the connection is doing."""

    @property
    def progress(self) -> int:
        """Bytes that the client has sent or read; only differences count."""

    @property
    def reading_paused(self) -> bool:
        """Whether the server itself has stopped reading from the client."""

    def refuse(self, error: ServiceError) -> None:
        """Answer with an error and close the connection."""

    def refuse_surplus(self) -> None:
        """Refuse a connection because there are too many."""

    def close_if_idle(self) -> None:
        """Close the connection if it is between two requests."""

    def abort(self) -> None:
        """Close the connection at once."""


class Observation(NamedTuple):
    """The state of a connection when its current time limit began.

    Attributes:
        request: the newest request, None before the first.
        phase: see `Phase`.
        at: seconds.
        progress: bytes, see `Connection.progress`.

    """

    request: object
    phase: Phase
    at: float
    progress: int


class SlowClients:
    """Refuses clients that take too long.

    Args:
        settings: the time limits.
        metrics: shows the number of connections and the bytes held for their requests.
        body_budget: knows those bytes.

    """

    def __init__(self, settings: Settings, metrics: Metrics, body_budget: BodyBudget) -> None:
        self._metrics = metrics
        self._body_budget = body_budget
        self._max_connections = settings.max_connections
        # phase: seconds it may take, and bytes a second that extend it; a phase that is missing has no limit
        self._limits = {
            Phase.SURPLUS: (0.0, math.inf),
            Phase.HEAD: (settings.head_seconds, math.inf),
            Phase.BODY: (settings.body_seconds, BODY_BYTES_PER_SECOND),
            Phase.REFUSED_BODY: (settings.body_seconds, math.inf),
            Phase.ANSWER: (ANSWER_SECONDS, ANSWER_BYTES_PER_SECOND),
            Phase.CLOSING: (CLOSING_SECONDS, math.inf),
        }
        self._observed: dict[WatchedConnection, Observation] = {}

    def check(self, connections: Collection[WatchedConnection], now: float) -> None:
        """Refuse every client that takes too long, and update the metrics.

        Args:
            connections: all connections of this process.
            now: seconds, on a clock that stands still while the process does.

        """
        self._metrics.connections.set(len(connections))
        self._metrics.body_bytes.set(self._body_budget.held_bytes)
        watched = list(connections)  # a refusal may close a connection and so change the set
        # Closed connections are forgotten; the others keep their observation, even if a check raises.
        self._observed = {each: self._observed[each] for each in watched if each in self._observed}
        for connection in watched:
            self._observed[connection] = self._check_connection(connection, self._observed.get(connection), now)
        if len(watched) >= self._max_connections:
            self._close_idle(math.ceil(len(watched) - self._max_connections * (1 - FREE_SHARE)))

    def _close_idle(self, count: int) -> None:
        """Close up to this many idle connections, the longest idle first."""
        idle = [each for each, seen in self._observed.items() if seen.phase is Phase.IDLE]
        for connection in sorted(idle, key=lambda each: self._observed[each].at)[:count]:
            connection.close_if_idle()

    def _check_connection(self, connection: WatchedConnection, seen: Observation | None, now: float) -> Observation:
        """Refuse the client if it is too slow; return the observation to compare the next check with."""
        request, phase = connection.phase
        current = Observation(request, phase, now, connection.progress)
        if seen is None or seen.request is not request or seen.phase is not phase:
            return current
        max_seconds, min_rate = self._limits.get(phase, (math.inf, math.inf))
        seconds = now - seen.at
        if seconds <= max_seconds:
            return seen
        progress = current.progress - seen.progress
        if progress >= seconds * min_rate or (phase is Phase.BODY and connection.reading_paused):
            return current
        _refuse(connection, phase, seconds, progress)
        return seen


def _refuse(connection: WatchedConnection, phase: Phase, seconds: float, progress: int) -> None:
    match phase:
        case Phase.SURPLUS:
            connection.refuse_surplus()
        case Phase.CLOSING:
            connection.abort()
        case Phase.HEAD:
            connection.refuse(SlowClientError(f"the request's head did not arrive within {seconds:.0f} s"))
        case Phase.ANSWER:
            connection.refuse(SlowClientError(f"the client read {progress} bytes of the answer in {seconds:.0f} s"))
        case _:
            connection.refuse(
                SlowClientError(
                    f"{progress} bytes of the body arrived in {seconds:.0f} s; send at least "
                    f"{BODY_BYTES_PER_SECOND} bytes a second on average"
                )
            )
