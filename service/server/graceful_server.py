"""uvicorn, with an ending that an orchestrator can rely on: SIGTERM finishes accepted work and exits with 0.

On the first signal the server is not ready any more but goes on for `grace_seconds`, so that load balancers can notice;
then it stops listening, finishes what it accepted within `drain_seconds`, and ends. A second signal ends it at once.
A process that is beyond mending (`watchdog.py`) ends by itself, so that whatever restarts processes does.
"""

import asyncio
import logging
import os
import signal
import socket
import time
from types import FrameType
from typing import cast

import uvicorn

from service.context import Context
from service.server.connection import Connection
from service.server.listener import Listener
from service.server.slow_clients import sweep
from service.watched_clock import WatchedClock

__all__ = ["FAILED", "Server"]

log = logging.getLogger("longtail.server")
TICKS_PER_SECOND = 10  # of uvicorn's own loop
# connections taken in a round of the loop
AT_ONCE = 128
AT_ONCE_OF_SEVERAL = 4
NOT_LIVE_SECONDS = 10.0  # /livez says so for that long before the process ends
FAILED = 70  # exit code, EX_SOFTWARE


class Server(uvicorn.Server):
    """uvicorn's server, which by itself raises the signal again once it has stopped: a clean stop looks like a death.

    Attributes:
        supervised: it is one of several processes, whose parent says when to end; Ctrl-C reaches all of them.
        ticked_at: when the event loop was seen to turn; infinite before it first does.

    """

    def __init__(self, config: uvicorn.Config, *, supervised: bool = False) -> None:
        super().__init__(config)
        self.supervised = supervised
        self.ticked_at = float("inf")
        self._signalled = False
        self._leaving_at = float("inf")
        self._clock = WatchedClock(longest=2.0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen as uvicorn does, then go on with listeners of our own on the same sockets."""
        await super().startup(sockets)
        at_once = AT_ONCE_OF_SEVERAL if self.supervised else AT_ONCE
        theirs = self.servers
        listening = [each for server in self.servers for each in server.sockets]
        twins = [socket.socket(fileno=os.dup(each.fileno())) for each in listening]
        for server in theirs:
            server.close()
        self.servers = cast("list[asyncio.Server]", [Listener(twin, self._protocol, at_once) for twin in twins])

    def _protocol(self) -> asyncio.Protocol:
        return Connection(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def end_process_if_failed(self) -> None:
        """End a process that is beyond mending with FAILED, at once: Python would wait for the threads that are why."""
        if self._context is not None and self._context.lifecycle.failure is not None:
            logging.shutdown()
            os._exit(FAILED)

    @property
    def _context(self) -> Context | None:
        """The application's, once that is loaded."""
        return self.config.loaded_app.context if self.config.loaded else None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature is signal's
        """First signal: leave. Second: end now, whatever is unfinished."""
        if self.supervised and sig == signal.SIGINT:
            return
        if self._signalled:
            log.warning("ending at once, on a second signal; %d requests are unanswered", len(self.server_state.tasks))
            os._exit(128 + sig)
        self._signalled = True
        self.leave()

    def leave(self) -> None:
        """Be not ready from now on, and end when the grace is over and accepted work is done."""
        context = self._context
        if context is None:  # it is not even listening
            self.should_exit = True
        elif not context.lifecycle.draining:
            context.lifecycle.draining = True
            grace = context.settings.grace_seconds
            self._leaving_at = time.monotonic() + grace
            if grace:
                log.info("not ready any more; requests are taken for another %g s", grace)

    async def on_tick(self, counter: int) -> bool:
        """Do what is due; say whether to stop listening."""
        self.ticked_at = now = time.monotonic()
        context = self._context
        if context is not None and counter % TICKS_PER_SECOND == 0:
            self._sweep(context, now)
        if context is not None and context.lifecycle.failure and now > context.lifecycle.failed_at + NOT_LIVE_SECONDS:
            log.critical("ending, to be replaced: %s", context.lifecycle.failure)
            return True
        if now >= self._leaving_at:
            self.should_exit = True
        if self.should_exit and context is not None:
            context.lifecycle.leave.set()
        return await super().on_tick(counter)

    def _sweep(self, context: Context, now: float) -> None:
        try:
            sweep(cast("set[Connection]", self.server_state.connections), self._clock.at(now), context)
        except Exception:  # housekeeping must not take the server down
            log.exception("the connections could not be looked at")
