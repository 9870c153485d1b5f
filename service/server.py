"""uvicorn, with an ending that an orchestrator can rely on: SIGTERM finishes accepted work and exits with 0."""

import gc
import os
import tempfile
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from service.context import Lifecycle
from service.metrics import MULTIPROCESS_VARIABLE
from service.protocol import Protocol
from service.repository.orders import ORDERS_VARIABLE
from service.settings import Settings

__all__ = ["serve", "serve_in_processes", "settle_process"]


class _Server(uvicorn.Server):
    """uvicorn's own server raises the signal again once it has stopped, so that a clean stop looks like a death."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle) -> None:
        super().__init__(config)
        self.lifecycle = lifecycle

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature is signal's
        """First signal: not ready any more, finish what was accepted. Second: now."""
        self.lifecycle.draining = True
        self.force_exit = self.should_exit
        self.should_exit = True


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve in this process until a signal."""
    settle_process()
    _Server(_config(app, settings), app.state.context.lifecycle).run()


def serve_in_processes(settings: Settings) -> None:
    """Serve in several processes behind one port, until a signal; a process that dies is replaced."""
    with tempfile.TemporaryDirectory(prefix="longtail-") as folder:
        shared = {MULTIPROCESS_VARIABLE: folder, ORDERS_VARIABLE: f"{folder}/orders.json"}
        os.environ |= settings.as_environment() | shared
        config = _config("service.app:app_from_environment", settings)
        Multiprocess(config, sockets=[config.bind_socket()]).run()


def settle_process() -> None:
    """Tell Python and the system what kind of work this process does; once, when everything is loaded.

    What was made so far, modules and models, is taken out of the garbage collector's rounds: going through it again and
    again would take much of the event loop's time. What is given up later is still freed when its last reference
    goes, as everything is that is no part of a circle.

    On Linux our threads, begun from now on, are a batch job to the scheduler: none that wakes up takes the core from
    one that computes, so under load requests are read some at a time. With a core free nothing waits any longer.
    """
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):  # a sandbox that forbids it: then it is as it was
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _config(app: FastAPI | str, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http=Protocol,
        timeout_graceful_shutdown=settings.drain_seconds,
    )
