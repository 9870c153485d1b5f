"""uvicorn's HTTP/1.1 connection, with disconnects reported at once, answers in one write, and limits for clients.

uvicorn reports a disconnect only to an application that awaits `receive`, which would take a second task for every
request. This connection cancels the request's task itself (see `service/web/disconnect.py`).

uvicorn limits neither the number of connections, nor the size of a request's head, nor the number of pipelined
requests, nor the time a client may take. This connection enforces the first three and exposes what `slow_clients.py`
needs for the fourth. What is not a request by the standard is answered with the same JSON as any other error, after the
requests before it, and the connection is closed.
"""

import asyncio
from typing import Any, cast

from httptools import HttpParserError, HttpParserUpgrade
from typing_extensions import override
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.context import Context
from service.errors import ErrorAnswer, HeadTooLargeError, OverloadedError, ServiceError, describe
from service.server.connection_phase import Phase
from service.server.ignored_upgrade import body_headers, body_parser
from service.server.malformed import explain, target_in
from service.server.refusal import closing, refusal
from service.server.request_head import checked_target, head_size
from service.server.single_write import SingleWriteTransport
from service.web.disconnect import DISCONNECT, ClientDisconnect

__all__ = ["FLOW_CONTROL", "Connection"]

FLOW_CONTROL = "longtail.flow_control"  # the scope key of uvicorn's FlowControl; its drain() waits for the client
MAX_PIPELINED = 16  # requests waiting behind the one in work, per connection
MAX_SURPLUS_FACTOR = 1.25  # times max_connections; beyond it, a connection is refused before it sends anything
LAST_HEAD_SECONDS = 1.0  # for a head to arrive on a new connection, or to be completed, when the server shuts down
MAX_DISCARDED_BYTES = 1_000_000  # read after a refusal, so that the client is not cut off before it reads the answer


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
        self._last_answer: bytes | None = None  # a refusal that waits for the answers to earlier requests
        self._discarded = 0
        self._write_paused = False
        self._head_begun = False
        self._body_follows: list[tuple[bytes, bytes]] = []  # its framing, if the parser would not read the body

    @property
    def phase(self) -> tuple[RequestResponseCycle | None, Phase]:
        """The newest request, None before the first, and what the connection is doing."""
        cycle = self.cycle
        if self.transport.is_closing() or (self._refused and self._last_answer is None):
            return cycle, Phase.CLOSING
        if self._write_paused:
            return cycle, Phase.ANSWER
        if self._surplus:
            return cycle, Phase.SURPLUS
        if cycle is None or (cycle.response_complete and not cycle.more_body):
            return cycle, Phase.HEAD if cycle is None or self._head_begun else Phase.IDLE
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

    def close_if_idle(self) -> None:
        """Close the connection if it is between two requests."""
        if self.phase[1] is Phase.IDLE:
            self.transport.close()

    def refuse(self, error: ServiceError) -> None:
        """Answer with an error, after the answers to earlier requests, and close the connection.

        The connection is closed without an answer if the client could take it for part of another one.

        Args:
            error: what to answer.

        """
        if self._refused:
            return
        cycle, phase = self.phase
        self._refused = True
        answer = describe(error)
        self._context.metrics.errors.labels(answer.code).inc()
        running = self._running
        waits = phase is Phase.BODY and running is not cycle  # the refused request, behind others
        if waits or phase is Phase.WORK:
            self._last_answer = self._bytes_of(answer)
            if waits:
                dropped, _ = self.pipeline.popleft()
                cast("dict[str, Any]", dropped.scope)[DISCONNECT].notify()
                self.cycle = cast("RequestResponseCycle", running)
        elif phase in {Phase.HEAD, Phase.IDLE, Phase.SURPLUS} or (
            phase is Phase.BODY and cycle is not None and not cycle.response_started
        ):
            self._send_and_close(self._bytes_of(answer))
        elif phase is Phase.REFUSED_BODY:
            self._send_and_close(b"")
        else:
            self.transport.abort()

    def refuse_surplus(self) -> None:
        """Refuse this connection because the server has too many."""
        max_connections = self._context.settings.max_connections
        self.refuse(OverloadedError(f"all {max_connections} connections are in use; try again in a second"))

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(cast("asyncio.Transport", SingleWriteTransport(transport, self.loop)))
        max_connections = self._context.settings.max_connections
        self._surplus = len(self.connections) > max_connections
        if len(self.connections) > MAX_SURPLUS_FACTOR * max_connections:
            self.refuse_surplus()
        if self._context.lifecycle.closed_to_new_work.is_set():  # the client connected just before
            self.shutdown()

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
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED_BYTES:
                self.transport.pause_reading()
            return
        if self._surplus:
            self.refuse_surplus()
            return
        self._unparsed += len(data)
        while data:
            data = self._parse(data)
        if self._unparsed > self._max_head_bytes:
            self._refuse_head()

    def _parse(self, data: bytes) -> bytes:
        """Read requests; return what follows a request whose wish to upgrade is ignored."""
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            if self._body_follows:
                self.parser = body_parser(self, self._body_follows)
                self._body_follows = []
            return data[upgrade.args[0] :]
        except HttpParserError as error:
            if not self._refused:
                self.url = self.url or target_in(data)
                self.refuse(explain(error, data))
        return b""

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._head_begun = True
        scope = cast("dict[str, Any]", self.scope)
        scope[DISCONNECT] = ClientDisconnect()
        scope[FLOW_CONTROL] = self.flow

    @override
    def on_headers_complete(self) -> None:
        """Start answering the request, if its head and the pipeline are as they should be."""
        if self._refused:
            return
        # part of the body may have arrived in the same read
        if self._unparsed > self._max_head_bytes and head_size(self.url, self.headers) > self._max_head_bytes:
            self._refuse_head()
            return
        self._unparsed = 0
        try:
            parser = self.parser
            self.url = checked_target(parser.get_method(), self.url, parser.get_http_version(), self.headers)
            if len(self.pipeline) >= MAX_PIPELINED:
                raise OverloadedError(f"{MAX_PIPELINED} requests wait on this connection; read their answers first")
        except ServiceError as error:
            self.refuse(error)
            return
        self._head_begun = False
        self._unset_keepalive_if_required()
        if parser.should_upgrade():
            self._body_follows = body_headers(self.headers)
        super().on_headers_complete()
        if self._context.lifecycle.draining or not parser.should_keep_alive():
            self.cycle.keep_alive = False
        if not self.cycle.keep_alive:
            self.cycle.default_headers = closing(self.cycle.default_headers)

    @override
    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        self.received += len(body)
        if not self._refused:
            super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        self._unparsed = 0
        if self._refused or self._body_follows:
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
        was_last = not self.pipeline
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()
        elif was_last and self._last_answer is not None and not self.transport.is_closing():
            self._send_and_close(self._last_answer)
            self._last_answer = None

    @override
    def shutdown(self) -> None:
        """Close the connection: at once if it is idle, else after the requests that have arrived, or are about to."""
        if self.phase[1] is Phase.HEAD:
            self.loop.call_later(LAST_HEAD_SECONDS, super().shutdown)
            return
        super().shutdown()
        if self.cycle is not None:
            self.cycle.default_headers = closing(self.cycle.default_headers)

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

    def _bytes_of(self, answer: ErrorAnswer) -> bytes:
        headers = self.headers or []
        is_head = bool(self.url) and self.parser.get_method() == b"HEAD"
        return refusal(answer, self.url.decode("latin-1"), headers, body=not is_head)

    def _send_and_close(self, data: bytes) -> None:
        """Write the last bytes of this connection; close it once the client has closed its side, or soon."""
        self.transport.write(data)
        if self._surplus:
            self.transport.close()
        else:
            self.transport.write_eof()

    def _refuse_head(self) -> None:
        limit = f"the address and headers exceed {self._max_head_bytes / 1000:g} kB"
        self.refuse(HeadTooLargeError(f"{limit}; send long parameters as fields of a form or of a JSON body"))
