"""A transport that writes an answer's head and body together.

uvicorn writes them separately, which costs an additional system call here and often an additional wake-up of the
client.
"""

import asyncio
from typing import Any

__all__ = ["SingleWriteTransport"]


class SingleWriteTransport:
    """A transport that holds back a write until the next one, or until the event loop's next iteration.

    It forwards everything else to the wrapped transport. It does not inherit from `asyncio.Transport`, whose methods
    would only raise NotImplementedError instead of reaching `__getattr__`.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        # called for every request, so __getattr__ would cost too much
        for name in ("get_extra_info", "is_closing", "pause_reading", "resume_reading", "set_protocol"):
            setattr(self, name, getattr(transport, name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Hold the data back, or write it together with what is held."""
        if self._held:
            self._transport.write(self._held + data)
            self._held = b""
        elif data:
            self._held = data
            self._loop.call_soon(self._flush)

    def write_eof(self) -> None:
        """Write what is held, then send no more; data may still arrive."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Write what is held, then close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once, and drop what is held or buffered."""
        self._held = b""
        self._transport.abort()

    def _flush(self) -> None:
        if self._held and not self._transport.is_closing():
            self._transport.write(self._held)
        self._held = b""
