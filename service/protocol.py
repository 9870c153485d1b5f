"""uvicorn's HTTP/1.1 with two things added: an answer leaves in one write, and who waits hears of a hang-up at once.

uvicorn writes head and body one after the other, which costs a system call more on this side and often a wake-up more
on the other. And it tells of a hang-up only to who asks `receive` for it, for which every request would need a second
task; here the connection itself cancels the request's work.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HANG_UP", "HangUp", "Protocol"]

HANG_UP = "longtail.hang_up"  # where a request's scope has it


class HangUp:
    """Whose work is for nothing when the connection is gone.

    Attributes:
        task: what to cancel then; None where nothing is to be cancelled.
        happened: the connection is gone.
    """

    __slots__ = ("happened", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.happened = False

    def tell(self) -> None:
        """The connection is gone."""
        self.happened = True
        if self.task is not None:
            self.task.cancel()


class Protocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin."""
        super().connection_made(_OneWrite(transport, self.loop))

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)[HANG_UP] = HangUp()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        if self.cycle is not None and self.cycle.disconnected:
            cast("dict[str, Any]", self.cycle.scope)[HANG_UP].tell()


class _OneWrite(asyncio.Transport):
    """A transport that holds what is written until more comes, or until the event loop has done what else there is."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport, self._loop = transport, loop
        self._held = b""
        for name in ("get_extra_info", "is_closing", "pause_reading", "resume_reading", "set_protocol"):
            setattr(self, name, getattr(transport, name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:  # type: ignore[override]  # bytes is all that uvicorn writes
        """Hold the data, or write it behind what is held."""
        if self._held:
            self._transport.write(self._held + data)
            self._held = b""
        elif data:
            self._held = data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Write what is held, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            self._transport.write(self._held)
            self._held = b""
