"""How a request hears that its client has hung up, so that nobody computes for a caller who has left."""

import asyncio
from typing import Any

__all__ = ["DISCONNECT", "ClientDisconnect"]

DISCONNECT = "longtail.disconnect"  # where a request's scope has it


class ClientDisconnect:
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
