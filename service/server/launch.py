"""Starts uvicorn as the settings say: in this process, or in several."""

import gc
import os
import tempfile
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from service.server.connection import Connection
from service.server.graceful_server import Server
from service.server.slow_clients import raise_file_limit
from service.server.supervisor import supervise
from service.settings import Settings

__all__ = ["serve", "serve_in_processes", "settle_process"]


def serve(app: FastAPI, settings: Settings) -> int:
    """Serve in this process until a signal; return the exit code."""
    settle_process()
    raise_file_limit(settings.max_connections)
    server = Server(_config(app, settings))
    server.run()
    server.end_process_if_failed()
    return 0


def serve_in_processes(settings: Settings) -> int:
    """Serve in several processes behind one port, until a signal; a process that dies is replaced."""
    raise_file_limit(settings.max_connections)
    with tempfile.TemporaryDirectory(prefix="longtail-") as folder:
        os.environ |= settings.as_environment()
        return supervise(_config("service.app:app_from_environment", settings), folder)


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
        http=Connection,
        ws="none",
        timeout_graceful_shutdown=settings.drain_seconds,
    )
