"""How a request learns that its client has disconnected, so that the server stops working on it."""

import asyncio
from typing import Any

__all__ = ["DISCONNECT", "ClientDisconnect"]

DISCONNECT = "longtail.disconnect"  # the scope key of a request's ClientDisconnect


class ClientDisconnect:
    """The connection between a request's task and its client's disconnect.

    Attributes:
        task: the task to cancel when the client disconnects; None if there is none.
        happened: whether the client has disconnected.

    """

    __slots__ = ("happened", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.happened = False

    def notify(self) -> None:
        """Record the disconnect and cancel the task."""
        self.happened = True
        if self.task is not None:
            self.task.cancel()
