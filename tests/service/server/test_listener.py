"""Whoever waits at the port is taken, however busy the server is, and whatever it lacks for a moment."""

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

ROUNDS = 5  # of the event loop, for a hundred clients; uvloop's own way takes a hundred


class Counted(asyncio.Protocol):
    """Says hello to each connection, and keeps it."""

    made: ClassVar[list[asyncio.Transport]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made.append(cast("asyncio.Transport", transport))
        self.made[-1].write(b"hello")

    @classmethod
    async def disconnect(cls) -> int:
        """Close all there are; return how many."""
        count = len(cls.made)
        while cls.made:
            cls.made.pop().close()
        await asyncio.sleep(0.01)
        return count


def listening() -> socket.socket:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen(2048)
    return bound


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
def test_all_who_wait_are_taken_within_a_few_rounds(run: object) -> None:
    async def main() -> list[bytes]:
        bound = listening()
        with ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(bound.getsockname())) for _ in range(100)]
            listener = Listener(bound, Counted, max_accepts=128)
            for _ in range(ROUNDS):
                await asyncio.sleep(0)
            listener.close()
            assert await Counted.disconnect() == 100
            return [client.recv(5) for client in clients]

    assert callable(run)
    assert run(main()) == [b"hello"] * 100


def test_of_several_processes_each_takes_some() -> None:
    async def main() -> int:
        bound = listening()
        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(socket.create_connection(bound.getsockname()))
            listener = Listener(bound, Counted, max_accepts=4)
            listener._accept()
            listener.close()
            await asyncio.sleep(0.01)
            return await Counted.disconnect()

    assert asyncio.run(main()) == 4


def test_nobody_is_taken_once_it_is_closed() -> None:
    async def main() -> None:
        listener = Listener(listening(), Counted, max_accepts=4)
        address = listener.sockets[0].getsockname()
        listener.close()
        await listener.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)

    asyncio.run(main())


@pytest.mark.slow
def test_without_files_left_it_waits_and_goes_on(tiny_bundle: Bundle, tmp_path: Path) -> None:
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
