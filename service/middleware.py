"""Around every request: an id, a time, a count, and one shape for whatever goes wrong."""

import logging
import re
import time
import uuid
from http import HTTPStatus

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import LongtailError
from service.context import request_id_of
from service.errors import (
    ClientGoneError,
    OverloadedError,
    RequestError,
    ServiceError,
    StorageUnavailableError,
    translate,
)
from service.metrics import Metrics
from service.openinference.dialect import error_body

__all__ = ["RequestEnvelope", "add_error_handlers"]

log = logging.getLogger("longtail.request")
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HEADER = b"x-request-id"


class RequestEnvelope:
    """ASGI middleware: gives the request an id (or keeps the client's), returns it, counts and times the answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        brought = next((value for name, value in scope["headers"] if name == _HEADER), b"")
        request_id = brought.decode() if _SANE_ID.fullmatch(brought) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((_HEADER, request_id.encode()))
                route = getattr(scope.get("route"), "path", "other")
                self.metrics.requests.labels(route, message["status"]).inc()
                self.metrics.request_seconds.labels(route).observe(time.perf_counter() - started)
            await send(message)

        await self.app(scope, receive, send_with_id)


def add_error_handlers(app: FastAPI, metrics: Metrics) -> None:
    """Make every error leave in one shape: ours, the validator's, the router's, and those nobody expected."""

    def answer(
        request: Request, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> Response:
        metrics.errors.labels(code).inc()
        body = error_body(request.scope["path"], code, message, request_id_of(request))
        return Response(orjson.dumps(body), status, headers=headers, media_type="application/json")

    async def expected(request: Request, error: Exception) -> Response:
        headers = {"Retry-After": "1"} if isinstance(error, OverloadedError | StorageUnavailableError) else None
        if isinstance(error, ClientGoneError):
            headers = {"Connection": "close"}
        return answer(request, *translate(error), headers)

    async def invalid(request: Request, error: Exception) -> Response:
        problems = error.errors() if isinstance(error, RequestValidationError) else []
        sentences = [
            f"{'.'.join(map(str, p['loc']))}: {p['msg'].lower()}, not {str(p.get('input'))[:64]!r}" for p in problems
        ]
        return answer(request, *translate(RequestError("; ".join(sentences))))

    async def http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else None
        phrase = HTTPStatus(status).phrase
        where = f"{request.method} {request.url.path[:128]}"
        return answer(
            request, status, phrase.lower().replace(" ", "_"), f"{where}: {phrase.lower()}; see /docs", headers
        )

    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("request %s failed", request_id_of(request), exc_info=error)
        return answer(request, *translate(error))

    app.add_exception_handler(ServiceError, expected)
    app.add_exception_handler(LongtailError, expected)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)
