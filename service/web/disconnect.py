"""Stops the work on a request when its client disconnects."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from service.errors import ClientDisconnectedError

__all__ = ["DISCONNECT", "ClientDisconnect", "unless_disconnected"]

DISCONNECT = "longtail.disconnect"  # the scope key of a request's ClientDisconnect
T = TypeVar("T")


class ClientDisconnect:
    """Tells a request's task that the client has disconnected.

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


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of the work, or cancel the work when the client disconnects.

    Args:
        request: the client's request, whose body has been read.
        work: the coroutine to run in the current task.

    Raises:
        ClientDisconnectedError: the client has disconnected.

    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  a running coroutine belongs to a task
    disconnect: ClientDisconnect | None = request.scope.get(DISCONNECT)
    watching = None
    if disconnect is None:  # another server than ours, such as a test client
        disconnect = ClientDisconnect()
        watching = asyncio.ensure_future(_wait_for_disconnect(request, disconnect))
    if disconnect.happened:
        work.close()
        raise ClientDisconnectedError("the client disconnected")
    disconnect.task = task
    try:
        return await work
    except asyncio.CancelledError:
        if disconnect.happened and not task.uncancel():  # as in asyncio.timeout: not cancelled by anything else
            raise ClientDisconnectedError("the client disconnected") from None
        raise
    finally:
        disconnect.task = None
        if watching is not None:
            watching.cancel()


async def _wait_for_disconnect(request: Request, disconnect: ClientDisconnect) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    disconnect.notify()
