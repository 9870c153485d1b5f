"""uvicorn's HTTP/1.1 with what it lacks: hang-ups heard at once, answers in one write, and limits on what clients do.

uvicorn tells of a hang-up only to who asks `receive` for it, for which every request would need a second task; here the
connection itself cancels the request's work (`disconnect.py`). It bounds neither how many connections there are, nor
how large a request's head is, nor how many requests wait behind one at work, nor how long anything may take
(`slow_clients.py`). What cannot even be read as a request is answered as every other error is, and the connection
closed.
"""

import asyncio
from typing import Any, cast

import orjson
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.context import Context
from service.errors import HeadTooLargeError, MalformedRequestError, OverloadedError, ServiceError, describe
from service.result_ids import new_request_id
from service.server.single_write import SingleWriteTransport
from service.server.slow_clients import Observation
from service.web.disconnect import DISCONNECT, ClientDisconnect
from service.web.error_body import error_body

__all__ = ["FLOW_CONTROL", "Connection"]

FLOW_CONTROL = (
    "longtail.flow_control"  # where a request's scope has uvicorn's flow control: whether the client takes its answer
)
MAX_PIPELINED = 16  # requests that wait behind the one at work on a connection
BEYOND = 1.25  # times the most connections: so many are told, at their first word, that there are too many
_REFUSAL = (
    b"content-type: application/json\r\nretry-after: 1\r\nconnection: close\r\nx-content-type-options: nosniff\r\n"
    b"content-security-policy: default-src 'none'\r\ncache-control: no-store\r\ncontent-length: "
)


class Connection(HttpToolsProtocol):
    """One connection.

    Attributes:
        received: bytes of bodies that have come on it.
        seen: what it was first seen doing; the sweep's.

    """

    def __init__(self, config: Config, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self.received = 0
        self.url = b""
        self.seen: Observation | None = None
        self._context: Context = config.loaded_app.context
        self._most_silent = int(self._context.settings.max_head_kb * 1000)
        self._silent = 0  # bytes of which nothing has come yet: a head, or what stands between a body's chunks
        self._working: RequestResponseCycle | None = None  # the request at work; `cycle` is the one that came last
        self._surplus = self._refused = self._answer_waits = False

    @property
    def phase(self) -> tuple[RequestResponseCycle | None, str]:
        """Which part of which request is under way.

        `surplus`: none, there are too many connections; `head`; `body`; `rest` of a body that was refused already;
        `work`; `answer`, which the client does not take; `end`, the connection is being closed.
        """
        cycle = self.cycle
        if self._refused or self.transport.is_closing():
            return cycle, "end"
        if self._answer_waits:
            return cycle, "answer"
        if self._surplus:
            return cycle, "surplus"
        if cycle is None or (cycle.response_complete and not cycle.more_body):
            return cycle, "head"
        if cycle.more_body:
            return cycle, "rest" if cycle.response_complete else "body"
        return cycle, "work"

    @property
    def progress(self) -> int:
        """Bytes of bodies that have come; or, where an answer waits, how few bytes of it still do, as a number < 0."""
        return -self.transport.get_write_buffer_size() if self._answer_waits else self.received

    def refuse(self, error: ServiceError) -> None:
        """Say what is wrong, where that cannot be taken for a part of another answer, and close the connection."""
        if self._refused:
            return
        cycle, part = self.phase
        self._refused = True
        answer = describe(error)
        self._context.metrics.errors.labels(answer.code).inc()
        behind = self._working is not None and self._working is not cycle and not self._working.response_complete
        unsaid = part in {"head", "surplus"} or (part == "body" and cycle is not None and not cycle.response_started)
        if behind or not unsaid:
            self.transport.abort()
            return
        body = orjson.dumps(error_body(self.url.decode("latin-1"), answer.code, answer.message, new_request_id()))
        self.transport.write(b"%b%b%d\r\n\r\n%b" % (STATUS_LINE[answer.status], _REFUSAL, len(body), body))
        self.transport.close()

    def refuse_surplus(self) -> None:
        """Say that there are too many connections."""
        most = self._context.settings.max_connections
        self.refuse(OverloadedError(f"this server has its {most} connections already; try again in a second"))

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser cannot read."""
        self.refuse(MalformedRequestError(msg))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin."""
        super().connection_made(cast("asyncio.Transport", SingleWriteTransport(transport, self.loop)))
        most = self._context.settings.max_connections
        self._surplus = len(self.connections) > most
        if len(self.connections) > BEYOND * most:
            self.refuse_surplus()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; whoever still works for this client need not."""
        super().connection_lost(exc)
        waiting = [cycle for cycle, _ in self.pipeline]
        for cycle in {self._working, self.cycle, *waiting}:
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
                cast("dict[str, Any]", cycle.scope)[DISCONNECT].tell()
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        if self._refused:
            return
        if self._surplus:
            self.refuse_surplus()
            return
        self._silent += len(data)
        super().data_received(data)
        if self._silent > self._most_silent:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        scope = cast("dict[str, Any]", self.scope)
        scope[DISCONNECT] = ClientDisconnect()
        scope[FLOW_CONTROL] = self.flow

    def on_headers_complete(self) -> None:
        """Begin to answer it."""
        if self._silent > self._most_silent:  # what came at once may be a body as well
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > self._most_silent:
                self._refuse_head()
        self._silent = 0
        if len(self.pipeline) >= MAX_PIPELINED:
            self.refuse(OverloadedError(f"{MAX_PIPELINED} requests wait behind another one on this connection"))
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
            wait = self.timeout_keep_alive
            close = self.timeout_keep_alive_handler
            self.timeout_keep_alive_task = self.loop.call_later(wait, close)

    def on_response_complete(self) -> None:
        """Go on with the next request, and read more only where none waits: else each answer would let more in."""
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than it is written."""
        self._answer_waits = True
        super().pause_writing()

    def resume_writing(self) -> None:
        """It has taken enough."""
        self._answer_waits = False
        super().resume_writing()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._working = cycle
        super()._start_asgi_task(cycle, app)

    def _refuse_head(self) -> None:
        kilobytes = self._most_silent / 1000
        self.refuse(
            HeadTooLargeError(f"address and headers exceed {kilobytes:g} kB; what is long belongs into the body")
        )
