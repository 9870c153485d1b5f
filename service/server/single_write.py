"""A transport that writes an answer's head and body at once.

uvicorn writes one after the other, which costs a system call more on this side and often a wake-up more on the other.
"""

import asyncio
from typing import Any

__all__ = ["SingleWriteTransport"]


class SingleWriteTransport:
    """A transport that holds what is written until more comes, or until the event loop has done what else there is.

    All else it does as the transport behind it, so it inherits nothing: asyncio's own methods would only raise.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        for name in ("get_extra_info", "is_closing", "pause_reading", "resume_reading", "set_protocol"):  # often used
            setattr(self, name, getattr(transport, name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
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

    def abort(self) -> None:
        """Close, whatever is held or on its way."""
        self._held = b""
        self._transport.abort()

    def _flush(self) -> None:
        if self._held and not self._transport.is_closing():
            self._transport.write(self._held)
        self._held = b""
