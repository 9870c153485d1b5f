"""Connections stay open between requests for as long as the server says, and close at once when it shuts down."""

from pathlib import Path

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from models.bundle import Bundle
from service.server.connection import Connection
from service.server.connection_phase import Phase
from service.server.graceful_server import Server
from service.settings import Settings
from tests.docker.programs import eventually
from tests.service.server.live import Client, answers_to, live

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def only_connection(server: Server) -> Connection:
    (connection,) = server.server_state.connections
    assert isinstance(connection, Connection)
    return connection


def seconds_left(connection: HttpToolsProtocol) -> float:
    """How long the connection may still be idle."""
    timer = connection.timeout_keep_alive_task
    assert timer is not None
    return timer.when() - connection.loop.time()


@pytest.mark.parametrize("seconds", [None, 1, 620])
def test_an_idle_connection_stays_open_longer_than_the_server_says(
    tiny_bundle: Bundle, tmp_path: Path, seconds: int | None
) -> None:
    options = {} if seconds is None else {"keep_alive_seconds": seconds}
    with live(tiny_bundle, tmp_path, **options) as (address, server), Client(address) as client:
        client.send(GET)
        answer = client.answer()
        eventually(lambda: only_connection(server).phase[1] is Phase.IDLE, "the connection is idle")
        left = seconds_left(only_connection(server))
        if seconds == 1:
            assert client.answer() is None  # closed, without an error
    assert answer is not None
    assert answer.headers["keep-alive"] == f"timeout={seconds or 75}"
    assert "connection" not in answer.headers
    assert left == pytest.approx((seconds or 75) + 1, abs=0.9)


def test_the_default_outlasts_the_idle_time_of_common_proxies() -> None:
    assert Settings().keep_alive_seconds == 75  # nginx and AWS's load balancers: 60 s


def test_a_stray_empty_line_leaves_the_connection_idle(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Some clients send one after a body; it begins no request."""
    with live(tiny_bundle, tmp_path) as (address, server), Client(address) as client:
        client.send(GET + b"\r\n")
        assert client.answer() is not None
        eventually(lambda: only_connection(server).phase[1] is Phase.IDLE, "the connection is idle")
        assert seconds_left(only_connection(server)) > 60
        client.send(b"\r\n\r\nGET /liv")
        eventually(lambda: only_connection(server).phase[1] is Phase.HEAD, "a head has begun")
        client.send(b"ez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.answer() is not None


def test_no_timer_runs_while_a_request_that_came_in_pieces_is_in_work(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """The first part of its head may arrive before the answer to the request before it."""
    with live(tiny_bundle, tmp_path) as (address, server), Client(address) as client:
        client.send(GET + GET[:10])
        assert client.answer() is not None
        body = b"POST /v1/feedback HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
        client.send(GET[10:] + body)
        assert client.answer() is not None
        eventually(lambda: only_connection(server).phase[1] is Phase.BODY, "the body is awaited")
        assert only_connection(server).timeout_keep_alive_task is None
        client.send(b"[]")
        assert client.answer() is not None


@pytest.mark.parametrize(
    "request_",
    [LAST, b"GET /livez HTTP/1.0\r\n\r\n", b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"hello\r\n\r\n"],
    ids=["close", "HTTP/1.0", "HTTP/1.0 keep-alive", "malformed"],
)
def test_an_answer_that_ends_its_connection_promises_no_time(
    tiny_bundle: Bundle, tmp_path: Path, request_: bytes
) -> None:
    with live(tiny_bundle, tmp_path) as (address, _):
        (answer,) = answers_to(address, request_)
    assert answer.headers["connection"] == "close"
    assert "keep-alive" not in answer.headers


def test_while_the_server_drains_each_answer_ends_its_connection(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """A proxy then stops using the connection before the server closes it, so that it loses no request."""
    with live(tiny_bundle, tmp_path, grace_seconds=600) as (address, server):
        with Client(address) as client:
            client.send(GET)
            before = client.answer()
            server.leave()
            client.send(GET)
            during = client.answer()
            assert client.answer() is None
        (fresh,) = answers_to(address, GET)
    assert before is not None
    assert during is not None
    assert ("connection" in before.headers, before.headers["keep-alive"]) == (False, "timeout=75")
    for answer in (during, fresh):
        assert (answer.status, answer.headers["connection"], "keep-alive" in answer.headers) == (200, "close", False)


def test_idle_connections_close_at_once_and_a_request_that_has_begun_is_answered(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    with live(tiny_bundle, tmp_path) as (address, server), Client(address) as idle, Client(address) as begun:
        for client in (idle, begun):
            client.send(GET)
            assert client.answer() is not None
        begun.send(GET[:20])
        phases = server.server_state.connections
        eventually(lambda: {each.phase[1] for each in phases} == {Phase.IDLE, Phase.HEAD}, "the head has begun")  # type: ignore[union-attr]
        server.leave()
        assert idle.answer() is None
        begun.send(GET[20:])
        answer = begun.answer()
        assert begun.answer() is None
    assert answer is not None
    assert (answer.status, answer.headers["connection"], "keep-alive" in answer.headers) == (200, "close", False)
