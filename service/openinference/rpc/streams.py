"""A bound on calls that stay open: watchers of the health, and clients that read the services' descriptions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

__all__ = ["MAX_STREAMS", "Streams"]

MAX_STREAMS = 256


class Streams:
    """Counts the open streams. They are allowed on top of other calls, so those always find a place."""

    def __init__(self) -> None:
        self._open = 0

    @asynccontextmanager
    async def one(self, call_context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
        """Count a stream while it is open; end it with RESOURCE_EXHAUSTED if there are too many."""
        if self._open >= MAX_STREAMS:
            message = f"{MAX_STREAMS} streams are open, which is the limit; close one, or call Check instead of Watch"
            await call_context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, message)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
