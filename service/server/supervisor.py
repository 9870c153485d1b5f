"""Several server processes behind one port: uvicorn's supervisor, with what it lacks for one that nobody looks after.

A process that dies, ends by itself, or whose event loop stands still is replaced, and its gauges leave the metrics; one
that cannot even start is not tried for ever. A second signal ends all of them at once. If the supervisor itself is
killed, its processes leave, as after SIGTERM, rather than go on unwatched.
"""

import logging
import os
import signal
import time
from functools import cached_property
from socket import socket

import uvicorn
from prometheus_client import multiprocess as metrics_files
from uvicorn.supervisors import multiprocess

from service.catalog.load_commands import COMMANDS_VARIABLE
from service.metrics import MULTIPROCESS_VARIABLE
from service.server.graceful_server import FAILED, Server

__all__ = ["supervise"]

log = logging.getLogger("longtail.server")
HANGING_SECONDS = 15  # without a sign of life; importing everything on a busy machine takes some
JOIN_SECONDS = 0.1
# of processes; the pause before another, in seconds
EARLY_SECONDS = 20.0
MAX_EARLY_DEATHS = 8
MAX_PAUSE_SECONDS = 5.0
ENDING = frozenset({signal.SIGINT, signal.SIGTERM})


class _Process(multiprocess.Process):
    """One server process, as its supervisor sees it and, in the process itself, as it runs."""

    @cached_property
    def server(self) -> Server:
        """What runs in it."""
        return Server(self.config, supervised=True)

    def target(self, sockets: list[socket] | None = None) -> None:
        """Run, in the process itself."""
        self.parent_conn.close()  # else this end would stay open when the supervisor is gone
        super().target(sockets)
        self.server.end_process_if_failed()

    def always_pong(self) -> None:
        """Give signs of life, in a thread of their own, until the supervisor is gone."""
        try:
            super().always_pong()
        except (EOFError, OSError):
            self.server.leave()

    def pong(self) -> None:
        """Give one, where the event loop has turned lately: this thread would live on without it."""
        self.child_conn.recv()
        if time.monotonic() - self.server.ticked_at < HANGING_SECONDS:
            self.child_conn.send(self.server.started)


class _Supervisor(multiprocess.Multiprocess):
    """Starts, watches and ends them.

    Attributes:
        at_once: a second signal has come.
        failed: processes died as soon as they were started, again and again.

    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self.at_once = self.failed = False
        self._born: dict[int | None, float] = {}
        self._early_deaths = 0  # in a row

    def keep_subprocess_alive(self) -> None:
        """Replace whatever has died or hangs, ever more slowly where it dies early, and at last not any more."""
        now = time.monotonic()
        before = {process.pid: self._born.setdefault(process.pid, now) for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before.keys() - {process.pid for process in self.processes}:
            metrics_files.mark_process_dead(pid)  # type: ignore[no-untyped-call]
            early = now - self._born.pop(pid) < EARLY_SECONDS
            self._early_deaths = self._early_deaths + 1 if early else 0
            if self._early_deaths == MAX_EARLY_DEATHS:
                log.critical("%d processes in a row died as soon as they were started; ending", MAX_EARLY_DEATHS)
                self.failed = True
                self.should_exit.set()
            self.should_exit.wait(min(self._early_deaths, MAX_PAUSE_SECONDS))

    def handle_signals(self) -> None:
        """Do what signals ask; a second one that asks for the end, asks for it now."""
        self.at_once |= len([each for each in self.signal_queue if each in ENDING]) > 1
        super().handle_signals()

    def handle_hup(self) -> None:
        """Nothing: models, keys and operating points are followed without a restart."""

    handle_ttin = handle_ttou = handle_hup  # there are as many processes as the settings say

    def terminate_all(self) -> None:
        """Tell all to leave, and listen no more: else who comes when they have gone would wait for nobody."""
        super().terminate_all()
        for each in self.sockets:
            each.close()

    def join_all(self) -> None:
        """Wait until all have ended; on a second signal, end them."""
        for process in self.processes:
            while process.process.is_alive():
                process.process.join(JOIN_SECONDS)
                if self.at_once or ENDING & set(self.signal_queue):
                    log.warning("ending at once, on a second signal")
                    for each in self.processes:
                        each.process.kill()
                        each.process.join()
                    return


def supervise(config: uvicorn.Config, folder: str) -> int:
    """Serve in `config.workers` processes until a signal; return the exit code.

    Args:
        config: uvicorn's.
        folder: an empty one, for what the processes tell each other.

    """
    os.environ |= {MULTIPROCESS_VARIABLE: folder, COMMANDS_VARIABLE: f"{folder}/orders.json"}
    config.timeout_worker_healthcheck = HANGING_SECONDS
    multiprocess.Process = _Process  # type: ignore[misc]  # by this name it makes them, at each of four places
    supervisor = _Supervisor(config, sockets=[config.bind_socket()])
    supervisor.run()
    if supervisor.failed:
        return FAILED
    return max((abs(process.exitcode or 0) for process in supervisor.processes), default=0)
