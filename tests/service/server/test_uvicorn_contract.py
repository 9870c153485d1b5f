"""uvicorn still has every internal that `service/server/` relies on, and it still behaves as expected.

If a test fails after an update of uvicorn, adapt the code that uses the internal (`used_for` says what for), or narrow
the range of versions in pyproject.toml. To test another version of uvicorn:

    pip install --no-deps --target FOLDER uvicorn==VERSION
    PYTHONPATH=FOLDER pytest tests/service/server/test_uvicorn_contract.py
"""

import ast
import asyncio
import inspect
import pkgutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState
from uvicorn.supervisors import multiprocess

from service.server.graceful_server import TICKS_PER_SECOND
from service.server.uvicorn_internals import BEHAVIOURS, INTERNALS, Internal

SERVER_PACKAGE = Path(__file__).parents[3] / "service" / "server"
BASES = {
    "Connection": HttpToolsProtocol,
    "Server": uvicorn.Server,
    "_Process": multiprocess.Process,
    "_Supervisor": multiprocess.Multiprocess,
}
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class MemoryTransport(asyncio.Transport):
    """Records what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class HttpConnection(HttpToolsProtocol):
    """uvicorn's connection on a transport in memory, which notes the calls of some of its methods."""

    def __init__(self, app: Any = None, **options: Any) -> None:
        config = uvicorn.Config(app or answer, ws="none", proxy_headers=False, log_level="critical", **options)
        super().__init__(config=config, server_state=ServerState(), app_state={}, _loop=None)
        self.memory = MemoryTransport()
        self.calls: list[str] = []
        self.connection_made(self.memory)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.calls.append(f"begin {type(self.scope).__name__}")

    def on_headers_complete(self) -> None:
        self.calls.append(f"headers {len(self.headers)} {self.url.decode()}")
        super().on_headers_complete()

    async def finish(self) -> None:
        while self.tasks:
            await asyncio.gather(*self.tasks)


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


class IdleServer(uvicorn.Server):
    """uvicorn's server, which shuts down at the tick that `last_tick` names."""

    def __init__(self, last_tick: int = 0) -> None:
        super().__init__(uvicorn.Config(answer, port=0, lifespan="off", log_level="critical", proxy_headers=False))
        self.last_tick = last_tick
        self.ticks: list[int] = []
        self.actions: list[Callable[[], None]] = []

    async def on_tick(self, counter: int) -> bool:
        self.ticks.append(counter)
        while self.actions:
            self.actions.pop()()
        return await super().on_tick(counter) or counter >= self.last_tick


@contextmanager
def signals_restored() -> Iterator[None]:
    """Undo what a supervisor does to this process's signal handlers."""
    numbers = multiprocess.SIGNALS
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@cache
def used_connection() -> HttpConnection:
    """A connection that has answered a request."""

    async def connect() -> HttpConnection:
        connection = HttpConnection()
        connection.data_received(GET)
        await connection.finish()
        connection._unset_keepalive_if_required()
        return connection

    return asyncio.run(connect())


@cache
def used_server() -> IdleServer:
    """A server that has started and shut down."""
    server = IdleServer()
    server.run()
    return server


@cache
def unused_process() -> multiprocess.Process:
    return multiprocess.Process(uvicorn.Config(answer), [])


@cache
def unused_supervisor() -> multiprocess.Multiprocess:
    with signals_restored():
        return multiprocess.Multiprocess(uvicorn.Config(answer), [])


EXAMPLES: dict[str, Callable[[], object]] = {
    "HttpToolsProtocol": used_connection,
    "RequestResponseCycle": lambda: used_connection().cycle,
    "FlowControl": lambda: used_connection().flow,
    "Config": lambda: used_connection().config,
    "Server": used_server,
    "ServerState": lambda: used_server().server_state,
    "Process": unused_process,
    "Multiprocess": unused_supervisor,
}


@pytest.mark.parametrize("internal", INTERNALS, ids=lambda each: f"{each.owner.rpartition('.')[2]}.{each.name}")
def test_uvicorn_still_has(internal: Internal) -> None:
    version = f"uvicorn {uvicorn.__version__}"
    what = f"{internal.owner}.{internal.name}, used for: {internal.used_for}"
    try:
        owner = pkgutil.resolve_name(internal.owner)
        example = EXAMPLES[owner.__name__]() if inspect.isclass(owner) else owner
    except (ImportError, AttributeError, TypeError) as error:
        pytest.fail(f"{version} may not have {what}; there is no {internal.owner} to look at: {error}")
    if not hasattr(example, internal.name):
        pytest.fail(f"{version} has no {what}")
    if internal.parameters is not None:
        found = tuple(inspect.signature(getattr(owner, internal.name)).parameters)[1:]
        if found != internal.parameters:
            pytest.fail(f"{version} has other parameters, {found}, of {what}")


def test_every_internal_that_the_subclasses_use_is_listed() -> None:
    listed = {(internal.owner.rpartition(".")[2], internal.name) for internal in INTERNALS}
    found = set()
    for file in SERVER_PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and node.name in BASES:
                base = BASES[node.name]
                found |= {(base.__name__, name) for name in names_used(node) if is_uvicorns(base, name)}
    assert len({owner for owner, _ in found}) == len(BASES)
    assert found - listed == set()


def names_used(node: ast.ClassDef) -> set[str]:
    """The methods that a class defines, and the attributes of `self` that it reads."""
    methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    attributes = {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == "self"
    }
    return methods - {"__init__"} | attributes


@cache
def is_uvicorns(base: type, name: str) -> bool:
    """Whether a class of uvicorn has this attribute, or sets it on `self`."""
    return hasattr(base, name) or f"self.{name}" in source_of(base)


source_of = cache(inspect.getsource)


def test_every_behaviour_has_a_test() -> None:
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert set(BEHAVIOURS) <= tests


def test_nothing_but_the_server_package_knows_uvicorn() -> None:
    root = SERVER_PACKAGE.parent
    importing = {
        file.parent
        for file in root.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "uvicorn")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "uvicorn" for alias in node.names))
    }
    assert importing == {SERVER_PACKAGE}


def test_an_answer_is_written_in_two_parts() -> None:
    async def main() -> list[bytes]:
        connection = HttpConnection()
        connection.data_received(GET)
        await connection.finish()
        connection._unset_keepalive_if_required()
        return connection.memory.written

    head, body = asyncio.run(main())
    assert (head[:15], body) == (b"HTTP/1.1 200 OK", b"hello")


def test_the_scope_exists_before_the_head_is_complete() -> None:
    async def main() -> list[str]:
        connection = HttpConnection()
        connection.data_received(GET)
        assert connection.cycle.scope is connection.scope
        await connection.finish()
        connection._unset_keepalive_if_required()
        return connection.calls

    assert asyncio.run(main()) == ["begin dict", "headers 1 /"]


def test_the_parser_reports_to_the_connection() -> None:
    async def main() -> list[str]:
        connection = HttpConnection()
        connection.parser.feed_data(GET)
        assert (connection.parser.get_method(), connection.parser.get_http_version()) == (b"GET", "1.1")
        await connection.finish()
        with pytest.raises(httptools.HttpParserError):
            connection.parser.feed_data(b"hello\r\n\r\n")
        connection._unset_keepalive_if_required()
        return connection.calls

    assert asyncio.run(main())[:2] == ["begin dict", "headers 1 /"]


def test_an_upgrade_without_websockets_is_answered() -> None:
    head = GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n")

    async def main() -> list[bytes]:
        connection = HttpConnection()
        with pytest.raises(httptools.HttpParserUpgrade) as raised:
            connection.parser.feed_data(head + b"[]")
        assert raised.value.args == (len(head),)
        assert connection.parser.should_upgrade()
        await connection.finish()
        connection._unset_keepalive_if_required()
        return connection.memory.written

    assert asyncio.run(main())[0].startswith(b"HTTP/1.1 200 OK")


def test_pipelined_requests_wait_in_the_pipeline() -> None:
    async def main() -> None:
        connection = HttpConnection()
        connection.data_received(GET * 3)
        newest, oldest = connection.pipeline
        assert newest[0] is connection.cycle
        assert isinstance(oldest[0], RequestResponseCycle)
        assert connection.flow.read_paused
        await connection.finish()
        assert not connection.pipeline
        assert len(connection.memory.written) == 6
        assert connection.server_state.total_requests == 3
        connection._unset_keepalive_if_required()

    asyncio.run(main())


def test_a_body_after_its_answer_is_ignored() -> None:
    async def main() -> None:
        connection = HttpConnection()
        connection.data_received(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
        await connection.finish()
        connection.data_received(b"hello")
        assert connection.cycle.response_complete
        assert connection.cycle.more_body
        assert connection.cycle.body == b""
        assert connection.timeout_keep_alive_task is None

    asyncio.run(main())


def test_idle_connections_close_after_the_configured_time() -> None:
    async def main() -> None:
        connection = HttpConnection(timeout_keep_alive=76)
        connection.data_received(GET)
        await connection.finish()
        assert connection.timeout_keep_alive == 76
        timer = connection.timeout_keep_alive_task
        assert timer is not None
        assert timer.when() - connection.loop.time() == pytest.approx(76, abs=1)
        connection.timeout_keep_alive_handler()
        assert connection.memory.closed
        connection._unset_keepalive_if_required()
        assert timer.cancelled()
        for idle in (HttpConnection(), HttpConnection()):
            idle.shutdown()
            assert idle.memory.closed

    asyncio.run(main())


def test_configured_headers_are_in_every_answer() -> None:
    server = IdleServer()
    server.config = uvicorn.Config(answer, port=0, lifespan="off", proxy_headers=False, headers=[("keep-alive", "x")])
    server.run()
    assert [name for name, _ in server.server_state.default_headers] == [b"date", b"server", b"keep-alive"]

    async def main(*, keep_alive: bool) -> bytes:
        connection = HttpConnection()
        connection.data_received(GET)
        connection.cycle.default_headers = [(b"keep-alive", b"x") if keep_alive else (b"connection", b"close")]
        connection.cycle.keep_alive = keep_alive
        await connection.finish()
        connection._unset_keepalive_if_required()
        assert connection.memory.closed is not keep_alive
        return connection.memory.written[0]

    assert asyncio.run(main(keep_alive=True)).partition(b"\r\n")[2] == b"keep-alive: x\r\ncontent-length: 5\r\n\r\n"
    end = asyncio.run(main(keep_alive=False)).partition(b"\r\n")[2]
    assert end == b"connection: close\r\ncontent-length: 5\r\n\r\n"  # once


def test_the_loaded_app_is_the_application() -> None:
    config = uvicorn.Config(answer, proxy_headers=False, ws="none", http=HttpToolsProtocol)
    assert not config.loaded
    config.load()
    assert config.loaded
    assert config.loaded_app is answer
    assert config.http_protocol_class is HttpToolsProtocol


def test_a_tick_comes_ten_times_a_second() -> None:
    server = IdleServer(last_tick=TICKS_PER_SECOND)
    times: list[float] = []
    server.actions.append(lambda: times.append(asyncio.get_running_loop().time()))
    original = server.on_tick

    async def timed(counter: int) -> bool:
        times.append(asyncio.get_running_loop().time())
        return await original(counter)

    server.on_tick = timed  # type: ignore[method-assign]
    server.run()
    assert server.ticks == list(range(TICKS_PER_SECOND + 1))
    assert times[-1] - times[0] > 0.9  # at least; on a busy machine it takes longer


def test_a_signal_reaches_handle_exit() -> None:
    server = IdleServer(last_tick=1000)
    received = []

    def handle_exit(number: int, frame: object) -> None:
        received.append(number)
        server.should_exit = True

    server.handle_exit = handle_exit  # type: ignore[assignment, method-assign]
    server.actions.append(lambda: signal.raise_signal(signal.SIGTERM))
    server.run()  # which would raise the signal again if uvicorn had recorded it
    assert received == [signal.SIGTERM]


def test_listening_sockets_outlive_their_servers() -> None:
    server = IdleServer()
    ports = []

    def duplicate() -> None:
        (listening,) = (each for asyncio_server in server.servers for each in asyncio_server.sockets)
        with closing(socket.socket(fileno=socket.dup(listening.fileno()))) as twin:
            server.servers[0].close()
            ports.append(twin.getsockname()[1])
            with socket.create_connection(("127.0.0.1", ports[0])):
                pass

    server.actions.append(duplicate)
    server.run()
    assert ports[0] > 0


def test_shutdown_closes_and_awaits_the_servers() -> None:
    server = IdleServer()
    calls = []

    async def wait_closed() -> None:
        calls.append("wait_closed")

    stand_in = SimpleNamespace(close=lambda: calls.append("close"), wait_closed=wait_closed)

    def replace() -> None:
        server.servers[0].close()
        server.servers = [stand_in]  # type: ignore[list-item]

    server.actions.append(replace)
    server.run()
    assert calls == ["close", "wait_closed"]


def test_a_process_runs_its_server_and_answers_health_checks() -> None:
    ran: list[object] = []

    class Process(multiprocess.Process):
        server = SimpleNamespace(run=ran.append, started=True)  # type: ignore[assignment]

        def always_pong(self) -> None:
            with suppress(EOFError, OSError):
                super().always_pong()

    process = Process(uvicorn.Config(answer), [])
    before = set(threading.enumerate())
    process.target([])
    (answering,) = set(threading.enumerate()) - before
    assert ran == [[]]
    assert process.ping(timeout=5)
    process.parent_conn.close()  # as if the supervisor had died
    answering.join(5)
    assert not answering.is_alive()
    process.child_conn.close()


def test_processes_are_created_by_their_module_name(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Process:
        def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
            made.append((config, sockets))
            self.pid = len(made)
            self.exitcode = 1
            self.start = self.kill = self.join = lambda: None

        def is_alive(self, timeout: float) -> bool:
            assert timeout == 7
            return False

    monkeypatch.setattr(multiprocess, "Process", Process)
    config = uvicorn.Config(answer, workers=2)
    config.timeout_worker_healthcheck = 7
    with signals_restored():
        supervisor = multiprocess.Multiprocess(config, [])
        supervisor.init_processes()
        supervisor.keep_subprocess_alive()
    assert made == [(config, [])] * 4
    assert [process.pid for process in supervisor.processes] == [3, 4]
