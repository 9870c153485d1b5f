"""uvicorn's server with a graceful shutdown: SIGTERM finishes accepted requests and the process exits with 0.

After the first signal the server reports that it is not ready but keeps accepting requests for `grace_seconds`, so that
load balancers can notice. It then stops listening, finishes accepted requests within `drain_seconds`, and exits. A
second signal ends the process at once. A process that has failed for good (see `service/inference/watchdog.py`) exits
by itself, so that its supervisor or orchestrator replaces it.
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
from typing_extensions import override

from service.capped_clock import CappedClock
from service.context import Context
from service.server.connection import Connection
from service.server.listener import Listener
from service.server.slow_clients import SlowClients

__all__ = ["FAILED", "Server"]

log = logging.getLogger("longtail.server")
TICKS_PER_SECOND = 10  # how often uvicorn calls on_tick
# connections accepted per iteration of the event loop
MAX_ACCEPTS = 128
MAX_ACCEPTS_OF_SEVERAL = 4  # if several processes share the port, so that each gets a share
NOT_LIVE_SECONDS = 10.0  # between /livez reporting a failure and the exit
FAILED = 70  # exit code, EX_SOFTWARE


class Server(uvicorn.Server):
    """uvicorn's server, which exits with 0 after SIGTERM; uvicorn's own raises the signal again once it has stopped.

    Attributes:
        supervised: whether a parent process decides when this one exits; it then ignores Ctrl-C, which reaches both.
        ticked_at: monotonic time of the event loop's last sign of life; infinite before the first.

    """

    def __init__(self, config: uvicorn.Config, *, supervised: bool = False) -> None:
        super().__init__(config)
        self.supervised = supervised
        self.ticked_at = float("inf")
        self._signalled = False
        self._leaving_at = float("inf")
        self._clock = CappedClock(max_step=2.0)
        self._slow_clients: SlowClients | None = None

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening as uvicorn does, then replace its listeners by our own on the same sockets."""
        await super().startup(sockets)
        if (context := self._context) is not None:
            self._slow_clients = SlowClients(context.settings, context.metrics, context.body_budget)
        max_accepts = MAX_ACCEPTS_OF_SEVERAL if self.supervised else MAX_ACCEPTS
        uvicorn_servers = self.servers
        listening = [sock for server in uvicorn_servers for sock in server.sockets]
        duplicates = [socket.socket(fileno=os.dup(sock.fileno())) for sock in listening]
        for server in uvicorn_servers:
            server.close()
        listeners = [Listener(sock, self._new_connection, max_accepts) for sock in duplicates]
        self.servers = cast("list[asyncio.Server]", listeners)

    def _new_connection(self) -> asyncio.Protocol:
        return Connection(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def exit_if_failed(self) -> None:
        """Exit with FAILED if this process has failed, without waiting for its threads, which may hang."""
        if self._context is not None and self._context.lifecycle.failure is not None:
            logging.shutdown()
            os._exit(FAILED)

    @property
    def _context(self) -> Context | None:
        """The application's context, None until the application is loaded."""
        return self.config.loaded_app.context if self.config.loaded else None

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Shut down gracefully on the first signal, and exit at once on the second."""
        if self.supervised and sig == signal.SIGINT:
            return
        if self._signalled:
            log.warning("second signal: exiting at once; %d requests are unanswered", len(self.server_state.tasks))
            os._exit(128 + sig)
        self._signalled = True
        self.leave()

    def leave(self) -> None:
        """Report not ready from now on, and stop listening when the grace period is over."""
        context = self._context
        if context is None:  # not listening yet
            self.should_exit = True
        elif not context.lifecycle.draining:
            context.lifecycle.draining = True
            grace = context.settings.grace_seconds
            self._leaving_at = time.monotonic() + grace
            if grace:
                log.info("not ready any more; still accepting requests for %g s", grace)

    @override
    async def on_tick(self, counter: int) -> bool:
        """Check slow clients once a second; return whether to stop listening."""
        now = time.monotonic()
        self.ticked_at = now
        context = self._context
        if counter % TICKS_PER_SECOND == 0:
            self._check_slow_clients(now)
        if context is not None and context.lifecycle.failure and now > context.lifecycle.failed_at + NOT_LIVE_SECONDS:
            log.critical("exiting, to be replaced: %s", context.lifecycle.failure)
            return True
        if now >= self._leaving_at:
            self.should_exit = True
        if self.should_exit and context is not None:
            context.lifecycle.closed_to_new_work.set()
        return await super().on_tick(counter)

    def _check_slow_clients(self, now: float) -> None:
        if self._slow_clients is None:
            return
        try:
            self._slow_clients.check(cast("set[Connection]", self.server_state.connections), self._clock.read(now))
        except Exception:  # a fault in this check must not stop the server
            log.exception("checking for slow clients failed")
