"""A client cannot occupy a connection by doing nothing: slow heads and bodies, unread answers, too many connections."""

import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from models.bundle import Bundle
from service.server.file_limit import raise_file_limit
from tests.service.conftest import CLASSIFY, picture
from tests.service.server.test_process import server

pytestmark = pytest.mark.slow
HEAD = b"POST /v1/models/tiny/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
FLAGS = (
    "--keep-alive-seconds",
    "3",
    "--head-seconds",
    "0.5",
    "--body-seconds",
    "1",
    "--max-connections",
    "20",
    "--max-head-kb",
    "4",
)
MAX_SECONDS = 15.0  # until any slow client is refused with these flags, with the check's interval


@pytest.fixture(scope="module")
def address(tiny_bundle: Bundle) -> Iterator[tuple[str, int]]:
    with server(tiny_bundle, *FLAGS) as (_, url):
        host, _, port = url.removeprefix("http://").partition(":")
        yield host, int(port)


def answer_to(connection: socket.socket) -> bytes:
    """Everything that the server sends until it closes the connection."""
    connection.settimeout(MAX_SECONDS)
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def use_all_connections(stack: ExitStack, address: tuple[str, int]) -> None:
    """Open as many connections as the server allows, each answered once; the stack closes them."""
    for _ in range(20):
        connection = stack.enter_context(socket.create_connection(address))
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.recv(4096)


def code_of(answer: bytes) -> tuple[int, str]:
    found = re.search(rb'"code":"(\w+)"', answer)
    assert found, answer
    assert int(re.search(rb"content-length: (\d+)", answer)[1]) == len(answer.partition(b"\r\n\r\n")[2])  # type: ignore[index]
    return int(answer.split(b" ", 2)[1]), found[1].decode()


def test_a_head_that_does_not_arrive_is_refused(address: tuple[str, int]) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(address)) for _ in range(4)]
        for connection, sent in zip(connections, (b"", b"\r\n", b"GET /livez HT", HEAD), strict=True):
            connection.sendall(sent)
        assert [code_of(answer_to(connection)) for connection in connections] == [(408, "too_slow")] * 4


def test_a_head_that_trickles_does_not_keep_a_connection(address: tuple[str, int]) -> None:
    """The Slowloris attack: a few bytes now and then, of a head that never ends."""
    with socket.create_connection(address) as connection:
        connection.sendall(HEAD)
        until = time.monotonic() + MAX_SECONDS
        refused = False
        while not refused and time.monotonic() < until:
            try:
                connection.sendall(b"X-Drop: 1\r\n")
            except OSError:
                refused = True
            time.sleep(0.1)
    assert refused


@pytest.mark.parametrize(
    "sent", [b"Content-Length: 1000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
)
def test_a_body_that_does_not_arrive_is_refused(address: tuple[str, int], sent: bytes) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(HEAD + sent)
        assert code_of(answer_to(connection)) == (408, "too_slow")


def test_a_connection_stays_open_after_an_answer_that_came_before_the_body(address: tuple[str, int]) -> None:
    head = HEAD.replace(b"/classify", b"/classify?unknown=1") + b"Content-Length: 1000\r\n\r\n"
    with socket.create_connection(address) as connection:
        for _ in range(2):
            connection.sendall(head)
            assert connection.recv(65536).startswith(b"HTTP/1.1 422")
            connection.sendall(b"x" * 1000)
        assert answer_to(connection) == b""  # closed because it was idle, without an error


def test_a_slow_body_above_the_minimum_rate_is_accepted(address: tuple[str, int]) -> None:
    data = picture(1, side=128)  # 49 kB
    with socket.create_connection(address) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(data))
        for start in range(0, len(data), 2000):
            connection.sendall(data[start : start + 2000])
            time.sleep(0.1)
        assert answer_to(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 5000 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 2000 + b"\r\n",
    ],
    ids=["address", "a header", "headers"],
)
def test_a_head_beyond_the_limit_is_refused(address: tuple[str, int], head: bytes) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(head)
        answer = answer_to(connection)
    assert code_of(answer) == (431, "head_too_large")
    assert b"send long parameters as fields of a form or of a JSON body" in answer


@pytest.mark.parametrize("begun", [b"5;", b"0\r\nX: "], ids=["a chunk's extension", "a trailer"])
def test_an_endless_line_between_chunks_is_refused(address: tuple[str, int], begun: bytes) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + begun)
        time.sleep(0.2)  # so that it arrives on its own
        connection.sendall(b"a" * 5000)
        assert code_of(answer_to(connection)) == (431, "head_too_large")


def test_a_large_body_does_not_count_towards_the_head(address: tuple[str, int]) -> None:
    with httpx.Client(base_url=f"http://{address[0]}:{address[1]}") as client:
        answer = client.post(CLASSIFY, content=picture(1, side=128), headers={"Content-Type": "image/png"})
    assert answer.status_code == 200


@pytest.mark.parametrize("text", [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
def test_bytes_that_are_not_http_get_an_error_message(address: tuple[str, int], text: bytes) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(text)
        assert code_of(answer_to(connection)) == (400, "malformed_request")


def test_connections_beyond_the_limit_are_refused_until_others_close(address: tuple[str, int]) -> None:
    with ExitStack() as stack:
        use_all_connections(stack, address)
        with socket.create_connection(address) as refused:
            answer = answer_to(refused)
    assert code_of(answer) == (503, "overloaded")
    assert b"retry-after: 1" in answer
    url = f"http://{address[0]}:{address[1]}"
    until = time.monotonic() + MAX_SECONDS
    while httpx.get(f"{url}/livez").status_code != 200:  # the closed connections are still being counted
        assert time.monotonic() < until
    assert "longtail_connections " in httpx.get(f"{url}/metrics").text


def test_a_low_file_limit_is_raised_as_far_as_possible() -> None:
    script = (
        "import logging, resource\n"
        "logging.basicConfig()\n"
        "from service.server.file_limit import raise_file_limit\n"
        "for hard in (2000, 500):\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))\n"
        "    raise_file_limit(1000)\n"
        "    print(resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["(1256, 2000)", "(500, 500)"]
    assert "1000 connections need 1256 open files, but this process may have only 500" in done.stderr
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_file_limit(1)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_endless_pipelined_requests_are_refused(address: tuple[str, int]) -> None:
    """Each waiting request takes memory, whatever it asks for."""
    sent = 0
    flood = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
    with socket.create_connection(address) as connection:
        connection.settimeout(MAX_SECONDS)
        try:
            while sent < 50_000_000:
                connection.sendall(flood)
                sent += len(flood)
        except OSError:
            pass
    assert sent < 50_000_000
    assert httpx.get(f"http://{address[0]}:{address[1]}/livez").status_code == 200


def test_pipelined_requests_are_answered_in_order(address: tuple[str, int]) -> None:
    count = 12
    paths = [b"/v1/models/%d" % number for number in range(count)]
    with socket.create_connection(address) as connection:
        connection.sendall(b"".join(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path for path in paths))
        connection.settimeout(MAX_SECONDS)
        answer = b""
        while answer.count(b"HTTP/1.1 404") < count or answer.count(b"}}") < count:
            answer += connection.recv(65536)
    assert [int(number) for number in re.findall(rb"model '(\d+)'", answer)] == list(range(count))


def test_a_surplus_connection_is_refused_even_if_its_request_arrives_with_it(address: tuple[str, int]) -> None:
    with ExitStack() as stack:
        use_all_connections(stack, address)
        with socket.create_connection(address) as refused:
            refused.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert code_of(answer_to(refused)) == (503, "overloaded")
