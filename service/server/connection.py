"""uvicorn's HTTP/1.1 connection, with disconnects reported at once, answers in one write, and limits for clients.

uvicorn reports a disconnect only to an application that awaits `receive`, which would take a second task for every
request. This connection cancels the request's task itself (see `service/web/disconnect.py`).

uvicorn limits neither the number of connections, nor the size of a request's head, nor the number of pipelined
requests, nor the time a client may take. This connection enforces the first three and exposes what `slow_clients.py`
needs for the fourth. Bytes that are not HTTP are answered with the same JSON as any other error, and the connection is
closed.
"""

import asyncio
from typing import Any, cast

import orjson
from typing_extensions import override
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.context import Context
from service.errors import HeadTooLargeError, MalformedRequestError, OverloadedError, ServiceError, describe
from service.result_ids import new_request_id
from service.server.connection_phase import Phase
from service.server.single_write import SingleWriteTransport
from service.web.disconnect import DISCONNECT, ClientDisconnect
from service.web.error_body import error_body

__all__ = ["FLOW_CONTROL", "Connection"]

FLOW_CONTROL = "longtail.flow_control"  # the scope key of uvicorn's FlowControl; its drain() waits for the client
MAX_PIPELINED = 16  # requests waiting behind the one in work, per connection
MAX_SURPLUS_FACTOR = 1.25  # times max_connections; beyond it, a connection is refused before it sends anything
_REFUSAL_HEADERS = (
    b"content-type: application/json\r\nretry-after: 1\r\nconnection: close\r\nx-content-type-options: nosniff\r\n"
    b"content-security-policy: default-src 'none'\r\ncache-control: no-store\r\ncontent-length: "
)


class Connection(HttpToolsProtocol):
    """A client's connection.

    Attributes:
        received: body bytes received so far, over all requests.

    """

    def __init__(self, config: Config, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self.received = 0
        self.url = b""
        self._context: Context = config.loaded_app.context
        self._max_head_bytes = int(self._context.settings.max_head_kb * 1000)
        self._unparsed = 0  # bytes received since the parser last completed a head or returned body data
        self._running: RequestResponseCycle | None = None  # the request in work; `cycle` is the newest one
        self._surplus = False
        self._refused = False
        self._write_paused = False

    @property
    def phase(self) -> tuple[RequestResponseCycle | None, Phase]:
        """The newest request, None before the first, and what the connection is doing."""
        cycle = self.cycle
        if self._refused or self.transport.is_closing():
            return cycle, Phase.CLOSING
        if self._write_paused:
            return cycle, Phase.ANSWER
        if self._surplus:
            return cycle, Phase.SURPLUS
        if cycle is None or (cycle.response_complete and not cycle.more_body):
            return cycle, Phase.HEAD
        if cycle.more_body:
            return cycle, Phase.REFUSED_BODY if cycle.response_complete else Phase.BODY
        return cycle, Phase.WORK

    @property
    def progress(self) -> int:
        """Body bytes received or, in the answer phase, minus the number of bytes the client has yet to read."""
        return -self.transport.get_write_buffer_size() if self._write_paused else self.received

    @property
    def reading_paused(self) -> bool:
        """Whether the server itself has stopped reading from the client."""
        return self.flow.read_paused

    def abort(self) -> None:
        """Close the connection without sending what is buffered."""
        self.transport.abort()

    def refuse(self, error: ServiceError) -> None:
        """Answer with an error, unless the client could take it for part of another answer, and close the connection.

        Args:
            error: what to answer.

        """
        if self._refused:
            return
        cycle, phase = self.phase
        self._refused = True
        answer = describe(error)
        self._context.metrics.errors.labels(answer.code).inc()
        pipelined = self._running is not None and self._running is not cycle and not self._running.response_complete
        unanswered = phase in {Phase.HEAD, Phase.SURPLUS} or (
            phase is Phase.BODY and cycle is not None and not cycle.response_started
        )
        if pipelined or not unanswered:
            self.transport.abort()
            return
        body = orjson.dumps(error_body(self.url.decode("latin-1"), answer.code, answer.message, new_request_id()))
        self.transport.write(b"%b%b%d\r\n\r\n%b" % (STATUS_LINE[answer.status], _REFUSAL_HEADERS, len(body), body))
        self.transport.close()

    def refuse_surplus(self) -> None:
        """Refuse this connection because the server has too many."""
        max_connections = self._context.settings.max_connections
        self.refuse(OverloadedError(f"all {max_connections} connections are in use; try again in a second"))

    @override
    def send_400_response(self, msg: str) -> None:
        self.refuse(MalformedRequestError(msg))

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(cast("asyncio.Transport", SingleWriteTransport(transport, self.loop)))
        max_connections = self._context.settings.max_connections
        self._surplus = len(self.connections) > max_connections
        if len(self.connections) > MAX_SURPLUS_FACTOR * max_connections:
            self.refuse_surplus()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the work on every unanswered request of this client."""
        super().connection_lost(exc)
        waiting = [cycle for cycle, _ in self.pipeline]
        for cycle in {self._running, self.cycle, *waiting}:
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
                cast("dict[str, Any]", cycle.scope)[DISCONNECT].notify()
        self.pipeline.clear()

    @override
    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._surplus:
            self.refuse_surplus()
            return
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > self._max_head_bytes:
            self._refuse_head()

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unset_keepalive_if_required()
        scope = cast("dict[str, Any]", self.scope)
        scope[DISCONNECT] = ClientDisconnect()
        scope[FLOW_CONTROL] = self.flow

    @override
    def on_headers_complete(self) -> None:
        """Start answering the request, if its head and the pipeline are within their limits."""
        if self._unparsed > self._max_head_bytes:  # part of the body may have arrived in the same read
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > self._max_head_bytes:
                self._refuse_head()
        self._unparsed = 0
        if len(self.pipeline) >= MAX_PIPELINED:
            self.refuse(
                OverloadedError(
                    f"{MAX_PIPELINED} requests are already waiting on this connection; read their answers before "
                    "sending more"
                )
            )
        if not self._refused:
            super().on_headers_complete()

    @override
    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        self.received += len(body)
        if not self._refused:
            super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        self._unparsed = 0
        if self._refused:
            return
        super().on_message_complete()
        if self.cycle.response_complete:  # answered before its body had arrived; uvicorn would never call it idle
            self.cycle.more_body = False
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    @override
    def on_response_complete(self) -> None:
        """Start the next pipelined request; read on only if none is left, so that the pipeline cannot grow."""
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()

    @override
    def pause_writing(self) -> None:
        self._write_paused = True
        super().pause_writing()

    @override
    def resume_writing(self) -> None:
        self._write_paused = False
        super().resume_writing()

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _refuse_head(self) -> None:
        kilobytes = self._max_head_bytes / 1000
        self.refuse(HeadTooLargeError(f"the address and headers exceed {kilobytes:g} kB; send long values in the body"))
