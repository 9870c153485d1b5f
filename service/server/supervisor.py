"""Several server processes behind one port: uvicorn's supervisor, extended to run unattended.

The supervisor replaces a process that dies, exits by itself, or whose event loop hangs, and removes its gauges from the
metrics. If new processes keep dying early, the supervisor gives up. A second signal kills all processes at once. If the
supervisor itself is killed, its processes shut down gracefully, as after SIGTERM, instead of running unsupervised.
"""

import logging
import os
import signal
import time
from functools import cached_property
from socket import socket

import uvicorn
from prometheus_client import multiprocess as metrics_files
from typing_extensions import override
from uvicorn.supervisors import multiprocess

from service.catalog.load_commands import COMMANDS_VARIABLE
from service.metrics import MULTIPROCESS_VARIABLE
from service.server.graceful_server import FAILED, Server

__all__ = ["supervise"]

log = logging.getLogger("longtail.server")
MAX_SILENT_SECONDS = 15  # without a sign of life; imports on a busy machine take several seconds
JOIN_SECONDS = 0.1
EARLY_SECONDS = 20.0  # a process that dies before this age has died early
MAX_EARLY_DEATHS = 8  # in a row
MAX_PAUSE_SECONDS = 5.0  # before another process is started
EXIT_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})


class _Process(multiprocess.Process):
    """A server process; the supervisor uses this object to watch it, the process itself uses its copy to run."""

    @cached_property
    def server(self) -> Server:
        """The server that runs in the process."""
        return Server(self.config, supervised=True)

    @override
    def target(self, sockets: list[socket] | None = None) -> None:
        """Run the server; called in the process itself."""
        self.parent_conn.close()  # otherwise this copy would stay open when the supervisor dies
        super().target(sockets)
        self.server.exit_if_failed()

    @override
    def always_pong(self) -> None:
        """Answer the supervisor's health checks in a thread until the supervisor dies, then shut down."""
        try:
            super().always_pong()
        except (EOFError, OSError):
            self.server.leave()

    @override
    def pong(self) -> None:
        """Answer one health check, unless the event loop hangs; this thread keeps running even then."""
        self.child_conn.recv()
        if time.monotonic() - self.server.ticked_at < MAX_SILENT_SECONDS:
            self.child_conn.send(self.server.started)


class _Supervisor(multiprocess.Multiprocess):
    """Starts, watches and stops the processes.

    Attributes:
        exit_at_once: whether a second signal has arrived.
        failed: whether the supervisor has given up because new processes kept dying early.

    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self.exit_at_once = False
        self.failed = False
        self._born: dict[int | None, float] = {}
        self._early_deaths = 0

    @override
    def keep_subprocess_alive(self) -> None:
        """Replace processes that died or hang, with growing pauses if they die early, and give up in the end."""
        now = time.monotonic()
        before = {process.pid: self._born.setdefault(process.pid, now) for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before.keys() - {process.pid for process in self.processes}:
            metrics_files.mark_process_dead(pid)  # type: ignore[no-untyped-call]
            early = now - self._born.pop(pid) < EARLY_SECONDS
            self._early_deaths = self._early_deaths + 1 if early else 0
            if self._early_deaths == MAX_EARLY_DEATHS:
                log.critical(
                    "%d processes in a row died within %g s of their start; giving up", MAX_EARLY_DEATHS, EARLY_SECONDS
                )
                self.failed = True
                self.should_exit.set()
            self.should_exit.wait(min(self._early_deaths, MAX_PAUSE_SECONDS))

    @override
    def handle_signals(self) -> None:
        self.exit_at_once |= sum(number in EXIT_SIGNALS for number in self.signal_queue) > 1
        super().handle_signals()

    @override
    def handle_hup(self) -> None:
        """Ignore SIGHUP: models, keys and operating points are updated without a restart."""

    handle_ttin = handle_ttou = handle_hup  # the settings say how many processes there are

    @override
    def terminate_all(self) -> None:
        """Tell all processes to shut down, and stop listening: a client that connects now would wait in vain."""
        super().terminate_all()
        for listening in self.sockets:
            listening.close()

    @override
    def join_all(self) -> None:
        """Wait until all processes have exited; kill them on a second signal."""
        for process in self.processes:
            while process.process.is_alive():
                process.process.join(JOIN_SECONDS)
                if self.exit_at_once or EXIT_SIGNALS & set(self.signal_queue):
                    log.warning("second signal: killing all processes at once")
                    self._kill_all()
                    return

    def _kill_all(self) -> None:
        for process in self.processes:
            process.process.kill()
            process.process.join()


def supervise(config: uvicorn.Config, folder: str) -> int:
    """Serve in `config.workers` processes until a signal arrives; return the exit code.

    Args:
        config: uvicorn's configuration.
        folder: an empty folder for the files that the processes share.

    """
    os.environ |= {MULTIPROCESS_VARIABLE: folder, COMMANDS_VARIABLE: f"{folder}/load_commands.json"}
    config.timeout_worker_healthcheck = MAX_SILENT_SECONDS
    multiprocess.Process = _Process  # type: ignore[misc]  # uvicorn creates processes by this name, in four places
    supervisor = _Supervisor(config, sockets=[config.bind_socket()])
    supervisor.run()
    if supervisor.failed:
        return FAILED
    return max((abs(process.exitcode or 0) for process in supervisor.processes), default=0)
