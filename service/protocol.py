"""uvicorn's HTTP/1.1 with what it lacks: answers in one write, hang-ups heard at once, and limits on what clients do.

uvicorn writes head and body one after the other, which costs a system call more on this side and often a wake-up more
on the other. And it tells of a hang-up only to who asks `receive` for it, for which every request would need a second
task; here the connection itself cancels the request's work.

And it bounds neither how many connections there are, nor how large a request's head is, nor how long head and body may
take (`slow_clients.py`). What cannot even be read as a request is answered as every other error is, and the connection
closed.
"""

import asyncio
from typing import Any, cast

import orjson
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.context import Context
from service.errors import HeadTooLargeError, MalformedRequestError, OverloadedError, ServiceError, translate
from service.openinference.dialect import error_body
from service.result_ids import new_request_id
from service.slow_clients import Seen

__all__ = ["HANG_UP", "HangUp", "Protocol"]

_REFUSAL = (
    b"content-type: application/json\r\nretry-after: 1\r\nconnection: close\r\nx-content-type-options: nosniff\r\n"
    b"content-security-policy: default-src 'none'\r\ncache-control: no-store\r\ncontent-length: "
)

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
    """One connection.

    Attributes:
        received: bytes of bodies that have come on it.
        seen: what it was first seen doing; the sweep's.
    """

    def __init__(self, config: Config, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self.received, self.url = 0, b""
        self.seen: Seen | None = None
        self._context: Context = config.loaded_app.context
        self._most_silent = int(self._context.settings.max_head_kb * 1000)
        self._silent = 0  # bytes of which nothing has come yet: a head, or what stands between a body's chunks
        self._refused = self._answer_waits = False

    @property
    def phase(self) -> tuple[Any, str]:
        """Which part of which request is under way: its `head`, `body`, `work` on it, or its `answer`, which waits."""
        cycle = self.cycle
        if self._answer_waits:
            return cycle, "answer"
        if cycle is None or (cycle.response_complete and not cycle.more_body):
            return cycle, "head"
        return cycle, "body" if cycle.more_body else "work"

    def refuse(self, error: ServiceError) -> None:
        """Say what is wrong, where no answer has begun, and close the connection."""
        if self._refused:
            return
        self._refused = True
        status, code, message = translate(error)
        self._context.metrics.errors.labels(code).inc()
        cycle, part = self.phase
        if part in {"work", "answer"} or (part == "body" and cycle.response_started):
            self.transport.abort()
            return
        body = orjson.dumps(error_body(self.url.decode("latin-1"), code, message, new_request_id()))
        self.transport.write(b"%b%b%d\r\n\r\n%b" % (STATUS_LINE[status], _REFUSAL, len(body), body))
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser cannot read."""
        self.refuse(MalformedRequestError(msg))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin."""
        super().connection_made(cast("asyncio.Transport", _OneWrite(transport, self.loop)))
        most = self._context.settings.max_connections
        if len(self.connections) > most:
            self.refuse(OverloadedError(f"this server has its {most} connections already; try again in a second"))

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        if self.cycle is not None and self.cycle.disconnected:
            cast("dict[str, Any]", self.cycle.scope)[HANG_UP].tell()

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        if self._refused:
            return
        self._silent += len(data)
        super().data_received(data)
        if self._silent > self._most_silent:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        cast("dict[str, Any]", self.scope)[HANG_UP] = HangUp()

    def on_headers_complete(self) -> None:
        """Begin to answer it."""
        if self._silent > self._most_silent:  # what came at once may be a body as well
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > self._most_silent:
                self._refuse_head()
        self._silent = 0
        if not self._refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of its body."""
        self._silent = 0
        self.received += len(body)
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._silent = 0
        if self._refused:
            return
        super().on_message_complete()
        if self.cycle.response_complete:  # refused before its body had come; uvicorn would not take that for idle
            self.cycle.more_body = False
            self._unset_keepalive_if_required()
            wait, close = self.timeout_keep_alive, self.timeout_keep_alive_handler
            self.timeout_keep_alive_task = self.loop.call_later(wait, close)

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than it is written."""
        self._answer_waits = True
        super().pause_writing()

    def resume_writing(self) -> None:
        """It has taken enough."""
        self._answer_waits = False
        super().resume_writing()

    def _refuse_head(self) -> None:
        kilobytes = self._most_silent / 1000
        self.refuse(
            HeadTooLargeError(f"address and headers exceed {kilobytes:g} kB; what is long belongs into the body")
        )


class _OneWrite:
    """A transport that holds what is written until more comes, or until the event loop has done what else there is.

    All else it does as the transport behind it, so it inherits nothing: asyncio's own methods would only raise.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
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
        if self._held:
            self._transport.write(self._held)
            self._held = b""
