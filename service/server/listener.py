"""A listener that accepts all waiting clients at once.

uvloop accepts one connection per iteration of its event loop. Under load, an iteration takes tens of milliseconds, so
new clients would wait for many seconds while connected clients are answered, or refused, at once.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

__all__ = ["Listener"]

log = logging.getLogger("longtail.server")
OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
PAUSE_SECONDS = 1.0


class Listener:
    """Accepts connections until it is closed. Create it on the event loop. It takes the place of an `asyncio.Server`.

    Args:
        listening: a listening socket, which the listener owns from now on.
        protocol: makes the protocol of a connection.
        max_accepts: connections accepted per iteration of the event loop; a small number if several processes share
            the port, so that each gets a share.

    """

    def __init__(self, listening: socket.socket, protocol: Callable[[], asyncio.Protocol], max_accepts: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = listening
        self._protocol = protocol
        self._max_accepts = max_accepts
        self._starting: set[asyncio.Task[object]] = set()  # the event loop itself keeps only weak references
        listening.setblocking(False)
        if listening.family in {socket.AF_INET, socket.AF_INET6}:
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted connections inherit it
        self._listen()

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening socket."""
        return (self._socket,)

    def close(self) -> None:
        """Accept the clients that have connected already, then stop listening; accepted connections stay open."""
        self._loop.remove_reader(self._socket)
        self._accept()
        self._socket.close()

    async def wait_closed(self) -> None:
        """Return at once; `close` leaves nothing to wait for."""

    def _listen(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        for _ in range(self._max_accepts):
            try:
                connection, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in OUT_OF_RESOURCES:
                    raise
                log.error("cannot accept connections for %g s: %s", PAUSE_SECONDS, error.strerror)  # noqa: TRY400
                self._loop.remove_reader(self._socket)
                self._loop.call_later(PAUSE_SECONDS, self._listen)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._start(connection))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _start(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:  # the client has disconnected already
            connection.close()
