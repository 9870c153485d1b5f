"""Several server processes behind one port: uvicorn's supervisor, with what it lacks for one that nobody looks after.

A process that dies, hangs or ends by itself is replaced, and its gauges leave the metrics. A second signal ends all of
them at once. If the supervisor itself is killed, its processes leave, as after SIGTERM, rather than go on unwatched.
"""

import logging
import os
import signal
import sys
from functools import cached_property
from socket import socket

import uvicorn
from prometheus_client import multiprocess as metrics_files
from uvicorn.supervisors import multiprocess

from service.metrics import MULTIPROCESS_VARIABLE
from service.repository.orders import ORDERS_VARIABLE
from service.server import Server

__all__ = ["supervise"]

log = logging.getLogger("longtail.server")
HANGING_SECONDS = 15  # without a sign of life; importing everything on a busy machine takes some
JOIN_SECONDS = 0.1


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
        sys.exit(self.server.exit_code)

    def always_pong(self) -> None:
        """Give signs of life, in a thread of their own, until the supervisor is gone."""
        try:
            super().always_pong()
        except (EOFError, OSError):
            self.server.leave()


class _Supervisor(multiprocess.Multiprocess):
    """Starts, watches and ends them."""

    def keep_subprocess_alive(self) -> None:
        """Replace whatever has died or hangs."""
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            metrics_files.mark_process_dead(pid)  # type: ignore[no-untyped-call]

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
                if {signal.SIGTERM, signal.SIGINT} & set(self.signal_queue):
                    log.warning("ending at once, on a second signal")
                    for each in self.processes:
                        each.process.kill()


def supervise(config: uvicorn.Config, folder: str) -> int:
    """Serve in `config.workers` processes until a signal; return the exit code.

    Args:
        config: uvicorn's.
        folder: an empty one, for what the processes tell each other.
    """
    os.environ |= {MULTIPROCESS_VARIABLE: folder, ORDERS_VARIABLE: f"{folder}/orders.json"}
    config.timeout_worker_healthcheck = HANGING_SECONDS
    multiprocess.Process = _Process  # type: ignore[misc]  # by this name it makes them, at each of four places
    supervisor = _Supervisor(config, sockets=[config.bind_socket()])
    supervisor.run()
    return max((abs(process.exitcode or 0) for process in supervisor.processes), default=0)
