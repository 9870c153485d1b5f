"""The whole service in this process, without a network: it takes a request's bytes and checks the answer.

The engine is the exact, instant fake, so that nearly all time goes into parsing.
"""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import orjson
from fastapi import FastAPI

from engines.fake import FakeEngine
from service.app import create_app
from service.catalog.loader import loader
from service.settings import Settings
from tests.tiny_bundle import write_tiny_bundle

__all__ = ["FaultError", "ServiceUnderTest"]

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
METHODS = (b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"PATCH", b"OPTIONS")
MAX_HEAD_BYTES = 16_384
ANYWHERE = {403, 404, 405}  # from the middleware and the router, for any operation


class FaultError(AssertionError):
    """The service did something that it never should."""


class ServiceUnderTest:
    """A running service; call `send` any number of times.

    Args:
        folder: an empty folder, for its model and its database.
        limits: settings that replace the low limits that keep the fuzzer quick.

    """

    def __init__(self, folder: Path, **limits: Any) -> None:
        write_tiny_bundle(folder / "models")
        given: dict[str, Any] = {"database": f"sqlite:///{folder}/fuzz.db", "max_pixels": 1_000_000, "max_body_mb": 1}
        given |= {"max_json_mb": 0.5, "max_archive_mb": 1, "cache_mb": 1, "keep_results": 500, "watch_seconds": 0}
        settings = Settings(models=folder / "models", **(given | limits))
        self.app: FastAPI = create_app(settings, loader(settings, FakeEngine))
        self.app.state.context.operating_points.spread_seconds = 0.0
        self._documented = _documented(self.app)
        self._loop = asyncio.new_event_loop()
        self._running = self.app.router.lifespan_context(self.app)
        self._loop.run_until_complete(self._running.__aenter__())

    def close(self) -> None:
        """Stop the service."""
        self._loop.run_until_complete(self._running.__aexit__(None, None, None))
        self._loop.close()

    def send(self, data: bytes) -> str:
        """Send a request in the form that `seeds.request` writes, and return the answer's status.

        Raises:
            FaultError: the operation does not document the status, or the error has no message.

        """
        scope, body = _scope(data)
        status, headers, answer = self._loop.run_until_complete(self._answer(scope, body))
        self._check(scope, status, headers, answer)
        return str(status)

    async def _answer(self, scope: dict[str, Any], body: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        messages = _messages(body)
        sent = []
        disconnected = asyncio.Event()

        async def receive() -> dict[str, Any]:
            message = next(messages, None)
            if message is None:
                await disconnected.wait()
                return {"type": "http.disconnect"}
            return message

        async def send(message: Any) -> None:
            sent.append(message)

        try:
            await self.app(scope, receive, send)
        except Exception as error:
            raise FaultError(f"{scope['method']} {scope['path']} raises {error!r}") from error
        disconnected.set()
        return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:])

    def _check(self, scope: dict[str, Any], status: int, headers: dict[bytes, bytes], answer: bytes) -> None:
        route = getattr(scope.get("route"), "path", None)
        known = self._documented.get((route, scope["method"]))
        allowed = ANYWHERE | known if known else ANYWHERE | {200, 206, 304, 307, 416}
        if status not in allowed or status == 500:
            raise FaultError(f"{scope['method']} {route} answers {status}: {answer[:300]!r}")
        if status < 400 or scope["method"] == "HEAD" or b"json" not in headers.get(b"content-type", b""):
            return
        error = orjson.loads(answer)["error"]
        message = error if isinstance(error, str) else error["message"]
        if len(message) < 15 or len(message) > 8000:
            raise FaultError(f"{scope['method']} {route} answers {status} without a message: {message[:300]!r}")


def _scope(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the scope and the body that a web server makes of a request, without what no server would accept."""
    head, _, body = data.partition(b"\n\n")
    head = head[:MAX_HEAD_BYTES]
    line, *lines = head.split(b"\n")
    method, _, target = line.partition(b" ")
    path, _, query = target.partition(b"?")
    path, query = (quote(part, safe="/%:@!$&'()*+,;=?").encode() for part in (path, query))
    pairs = [(name.strip().lower(), value.strip()) for name, _, value in (each.partition(b":") for each in lines)]
    headers = [(name, value) for name, value in pairs if TOKEN.fullmatch(name) and not {0, 10, 13} & set(value)]
    headers = [pair for pair in headers if pair[0] not in (b"content-length", b"host")]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": (method if method in METHODS else b"POST").decode(),
        "scheme": "http",
        "path": unquote(path.decode()) or "/",
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [*headers, (b"host", b"127.0.0.1"), (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }, body


def _messages(body: bytes) -> Iterator[dict[str, Any]]:
    """Yield the body in pieces; where it is cut depends only on the body."""
    piece = max(1, len(body) if len(body) % 3 == 0 else len(body) // (2 + len(body) % 7))
    for start in range(0, max(len(body), 1), piece):
        more = start + piece < len(body)
        yield {"type": "http.request", "body": body[start : start + piece], "more_body": more}


def _documented(app: FastAPI) -> dict[tuple[str | None, str], set[int]]:
    """Return the statuses that each operation documents."""
    return {
        (path, method.upper()): {int(status) for status in operation["responses"]}
        for path, methods in app.openapi()["paths"].items()
        for method, operation in methods.items()
    }
