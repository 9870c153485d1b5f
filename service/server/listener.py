"""Listens on a port, and takes all clients that wait there at once.

uvloop takes one new connection in each round of its loop. Under load a round takes tens of milliseconds, so clients
that come anew would wait for many seconds, where those with a connection are answered, or refused, at once.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

__all__ = ["Listener"]

log = logging.getLogger("longtail.server")
NO_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
PAUSE_SECONDS = 1.0


class Listener:
    """Listens, until it is closed; made on the event loop.

    Args:
        listening: a socket that listens already; it is the listener's from now on.
        protocol: makes one for each connection.
        at_once: most connections taken in a round; few, where several processes share the port and each shall get some.

    """

    def __init__(self, listening: socket.socket, protocol: Callable[[], asyncio.Protocol], at_once: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = listening
        self._protocol = protocol
        self._at_once = at_once
        self._beginning: set[asyncio.Task[object]] = set()
        listening.setblocking(False)
        if listening.family in {socket.AF_INET, socket.AF_INET6}:
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # its connections inherit it
        self._listen()

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """What it listens on."""
        return (self._socket,)

    def close(self) -> None:
        """Listen no more; connections that were taken go on."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""

    def _listen(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._take)

    def _take(self) -> None:
        for _ in range(self._at_once):
            try:
                connection, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in NO_FILES:
                    raise
                log.error("no connection can be taken for a moment: %s", error.strerror)  # noqa: TRY400
                self._loop.remove_reader(self._socket)
                self._loop.call_later(PAUSE_SECONDS, self._listen)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._begin(connection))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:  # it is gone already
            connection.close()
