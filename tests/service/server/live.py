"""A real server in a thread of the test process, and a client that sends bytes and reads the answers one by one."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from engines.fake import FakeEngine
from models.bundle import Bundle
from service.app import create_app
from service.catalog.loader import loader
from service.server.graceful_server import Server
from service.server.launch import server_config
from service.settings import Settings

__all__ = ["Address", "Answer", "Client", "answers_to", "live"]

PATIENCE = 30.0  # seconds
Address = tuple[str, int]


@contextmanager
def live(bundle: Bundle, folder: Path, **options: Any) -> Iterator[tuple[Address, Server]]:
    """Serve a bundle with the fake engine; yield the address and the server, which is stopped at the end."""
    settings = Settings(models=bundle.path.parent.parent, database=f"sqlite:///{folder}/live.db", **options)
    app = create_app(settings, loader(settings, FakeEngine))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = listening.getsockname()
        server = Server(server_config(app, settings))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        end = time.monotonic() + PATIENCE
        while not server.started:
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.01)
        try:
            yield address, server
        finally:
            server.should_exit = True
            thread.join()


@dataclass
class Answer:
    """An answer: its status, its headers by their names in lower case, and its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, str]:
        """The error in the form of /v1."""
        error: dict[str, str] = orjson.loads(self.body)["error"]
        return error


class Client:
    """A connection that sends bytes and reads answers."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address)
        self.socket.settimeout(PATIENCE)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def answer(self, *, body: bool = True) -> Answer | None:
        """Read an answer, with its body unless it is one to HEAD; None if the connection is closed instead."""
        line = self._file.readline()
        if not line:
            return None
        headers: dict[str, str] = {}
        while (header := self._file.readline()) != b"\r\n":
            name, _, value = header.decode("latin-1").partition(":")
            assert name not in headers, f"{name} occurs twice"
            headers[name] = value.strip()
        text = self._file.read(int(headers.get("content-length", 0))) if body else b""
        return Answer(int(line.split()[1]), headers, text)

    def rest(self) -> bytes:
        """Everything that arrives until the server closes the connection."""
        return self._file.read()


def answers_to(address: Address, request: bytes) -> list[Answer]:
    """Send requests on one connection; return all answers until the server closes it, as the last one has to ask."""
    with Client(address) as client:
        client.send(request)
        return list(iter(client.answer, None))
