"""Real programs for the tests of docker/: the service, HAProxy, Prometheus, and a name server instead of Docker's.

The tests use the shipped configuration unchanged. The name server resolves its host names (`service`, `replica`) to
loopback addresses. If a program is not installed, the tests that need it are skipped with a reason.
"""

import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

__all__ = [
    "COMPOSE", "DOCKER", "NAMES_AT", "ROOT", "Names", "answers", "eventually", "free_port", "names", "needs", "program",
    "replica", "started",
]  # fmt: skip

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
NAMES_AT = "127.0.0.60"
PATIENCE = 30.0  # seconds


def program(name: str, package: str) -> str:
    """Return the path of a program; skip the test if it is not installed."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"NOT tested, there is no {name} (Debian's package is called {package})")
    return found


def needs(condition: bool, what: str) -> None:
    """Skip the test if a condition does not hold."""
    if not condition:
        pytest.skip(f"NOT tested, {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(claim: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Poll until the claim holds; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, f"after {seconds} s still not: {what}"
        time.sleep(0.05)


class Names(dict[str, list[str]]):
    """A table of name -> addresses that the name server answers from; changes apply at once."""

    def answer(self, query: bytes) -> bytes:
        """Return the answer to a query for one name: its addresses, an empty answer, or NXDOMAIN."""
        labels = []
        at = 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        question = query[12 : at + 5]
        kind = int.from_bytes(query[at + 1 : at + 3])
        known = self.get(labels[0].lower() if labels else "")
        found = [socket.inet_aton(address) for address in known or []] if kind == 1 else []
        status = b"\x81\x80" if known else b"\x81\x83"
        record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04"
        counts = b"".join(count.to_bytes(2) for count in (1, len(found), 0, 0))
        return query[:2] + status + counts + question + b"".join(record + address for address in found)


@contextmanager
def names(**addresses: list[str]) -> Iterator[Names]:
    """Run a name server at NAMES_AT, port 53, which only root may open."""
    table = Names(addresses)

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            query, connection = self.request
            connection.sendto(table.answer(query), self.client_address)

    try:
        server = socketserver.ThreadingUDPServer((NAMES_AT, 53), Answer)
    except OSError as error:
        pytest.skip(f"NOT tested, no name server at {NAMES_AT}:53: {error}")
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield table
        server.shutdown()
        thread.join()


@contextmanager
def started(command: Sequence[str | Path], log: Path, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a process with its output in a file; kill it at the end if it still runs."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def replica(address: str, models: Path, environment: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Start the service at an address, port 8000, and wait until it is ready; kill it at the end if it still runs."""
    settings = {"LONGTAIL_HOST": address, "LONGTAIL_PORT": "8000", "LONGTAIL_MODELS": str(models)}
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "--log-level", "warning"],
        cwd=ROOT, env=os.environ | dict(environment) | settings, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        eventually(lambda: process.poll() is not None or answers(f"http://{address}:8000/readyz"), "ready")
        if process.poll() is not None:
            pytest.fail(f"the service ended with {process.returncode}: {process.communicate()[1]}")
        yield process
    finally:
        process.kill()
        process.communicate()


def answers(url: str) -> bool:
    """Return whether the URL answers 200."""
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
