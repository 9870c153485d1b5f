"""The listener accepts all waiting clients, however busy the server is, and survives a lack of open files."""

import asyncio
import contextlib
import signal
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, cast

import pytest
import uvloop

from models.bundle import Bundle
from service.server.listener import Listener
from tests.service.server.test_ending import status, until
from tests.service.server.test_process import ROOT, command, free_port

MAX_ITERATIONS = 5  # of the event loop, for a hundred clients; uvloop's own server takes a hundred


class Greeting(asyncio.Protocol):
    """Says hello to each client, and keeps the connection."""

    connections: ClassVar[list[asyncio.Transport]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connections.append(cast("asyncio.Transport", transport))
        self.connections[-1].write(b"hello")

    @classmethod
    async def disconnect(cls) -> int:
        """Close all connections; return how many there were."""
        count = len(cls.connections)
        while cls.connections:
            cls.connections.pop().close()
        await asyncio.sleep(0.01)
        return count


def listening_socket() -> socket.socket:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(2048)
    return listening


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
def test_all_waiting_clients_are_accepted_within_a_few_iterations(run: object) -> None:
    async def main() -> list[bytes]:
        listening = listening_socket()
        with ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(listening.getsockname())) for _ in range(100)]
            listener = Listener(listening, Greeting, max_accepts=128)
            for _ in range(MAX_ITERATIONS):
                await asyncio.sleep(0)
            listener.close()
            assert await Greeting.disconnect() == 100
            return [client.recv(5) for client in clients]

    assert callable(run)
    assert run(main()) == [b"hello"] * 100


def test_one_of_several_processes_accepts_a_few_at_a_time() -> None:
    async def main() -> int:
        listening = listening_socket()
        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(socket.create_connection(listening.getsockname()))
            listener = Listener(listening, Greeting, max_accepts=4)
            listener._accept()
            listener.close()  # accepts as many again
            await asyncio.sleep(0.01)
            return await Greeting.disconnect()

    assert asyncio.run(main()) == 8


def test_clients_that_have_connected_when_the_listener_closes_are_served() -> None:
    async def main() -> list[bytes]:
        listening = listening_socket()
        with ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(listening.getsockname())) for _ in range(3)]
            Listener(listening, Greeting, max_accepts=4).close()
            await asyncio.sleep(0.01)
            assert await Greeting.disconnect() == 3
            return [client.recv(5) for client in clients]

    assert asyncio.run(main()) == [b"hello"] * 3


def test_a_closed_listener_accepts_no_client() -> None:
    async def main() -> None:
        listener = Listener(listening_socket(), Greeting, max_accepts=4)
        address = listener.sockets[0].getsockname()
        listener.close()
        await listener.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)

    asyncio.run(main())


@pytest.mark.slow
def test_without_free_files_the_server_waits_and_recovers(tiny_bundle: Bundle, tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "log"
    url = f"http://127.0.0.1:{port}"

    few_files = ["bash", "-c", 'ulimit -n 80; exec "$@"', "bash"]
    with log.open("wb") as file:
        process = subprocess.Popen([*few_files, *command(tiny_bundle, "--port", str(port))], cwd=ROOT, stderr=file)
    try:
        until(lambda: status(f"{url}/readyz") == 200)
        with ExitStack() as stack:
            for _ in range(150):
                with contextlib.suppress(OSError):
                    stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            until(lambda: "cannot accept connections" in log.read_text())
        until(lambda: status(f"{url}/readyz") == 200)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    text = log.read_text()
    assert "4096 connections need 4352 open files, but this process may have only 80" in text
    assert "Traceback" not in text
    assert text.count("cannot accept connections") < 60
