"""Starts uvicorn with the service's settings, in this process or in several."""

import gc
import os
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from service.server.connection import Connection
from service.server.file_limit import raise_file_limit
from service.server.graceful_server import Server
from service.server.shared_folder import shared_folder
from service.server.supervisor import supervise
from service.settings import Settings

__all__ = ["configure_process", "serve", "serve_in_processes", "server_config"]

KEEP_ALIVE_MARGIN_SECONDS = 1  # a client that uses a connection for exactly as long as announced finds it open


def serve(app: FastAPI, settings: Settings) -> int:
    """Serve in this process until a signal arrives; return the exit code."""
    configure_process()
    raise_file_limit(settings.max_connections)
    server = Server(server_config(app, settings))
    server.run()
    server.exit_if_failed()
    return 0


def serve_in_processes(settings: Settings) -> int:
    """Serve in several processes behind one port until a signal arrives; return the exit code.

    Raises:
        SettingsError: there is no place for the files that the processes share.

    """
    raise_file_limit(settings.max_connections)
    with shared_folder() as folder:
        os.environ |= settings.as_environment()
        return supervise(server_config("service.app:app_from_environment", settings), folder)


def configure_process() -> None:
    """Configure the garbage collector and the scheduler for serving. Call this once, after everything is loaded.

    Objects that exist now, modules and models, are exempt from garbage collection: scanning them again and again would
    take much of the event loop's time. Reference counting still frees them, unless they are part of a cycle.

    On Linux, threads started from now on use the batch scheduling policy. A thread that wakes up then does not preempt
    one that computes, so under load the server reads several requests at a time. If a core is free, no thread waits
    longer than before.
    """
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def server_config(app: FastAPI | str, settings: Settings) -> uvicorn.Config:
    """Return uvicorn's configuration.

    Args:
        app: the application, or the name of a function that makes it.
        settings: the service's settings.

    """
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
        headers=[("keep-alive", f"timeout={settings.keep_alive_seconds}")],
        timeout_keep_alive=settings.keep_alive_seconds + KEEP_ALIVE_MARGIN_SECONDS,
        http=Connection,
        ws="none",
        timeout_graceful_shutdown=settings.drain_seconds,
    )
