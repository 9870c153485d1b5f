"""The middleware around every request: ids, access checks, metrics, security headers, and one form for all errors."""

import logging
import re
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import LongtailError
from service.access.authorization import Access, required_scope
from service.access.cross_site import refuse_other_sites
from service.context import request_id_of
from service.errors import ErrorAnswer, RequestError, ServiceError, describe
from service.metrics import Metrics
from service.result_ids import new_request_id
from service.web.direct_route import DirectRoute
from service.web.error_body import error_body

__all__ = ["RequestEnvelope", "add_error_handlers", "error_answer"]

log = logging.getLogger("longtail.request")
_VALID_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ID_HEADER = b"x-request-id"
_POLICY_HEADER = b"content-security-policy"
_CACHE_HEADER = b"cache-control"
_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_STRICT_POLICY = (_POLICY_HEADER, b"default-src 'none'; frame-ancestors 'none'")
_NO_STORE = (_CACHE_HEADER, b"no-store")


class RequestEnvelope:
    """The outermost middleware: request ids, cross-site and key checks, counters and durations.

    It answers a request for a direct route itself and passes all others to the application.

    Args:
        app: the application.
        access: decides whether a request may pass.
        metrics: counts the answers.
        direct_routes: the first one that matches a request answers it.

    """

    def __init__(
        self, app: ASGIApp, access: Access, metrics: Metrics, direct_routes: Sequence[DirectRoute] = ()
    ) -> None:
        self.app = app
        self.access = access
        self.metrics = metrics
        self.direct_routes = [(route.path_regex, route.methods or set(), route) for route in direct_routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it to the application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        client_id = next((value for name, value in scope["headers"] if name == _ID_HEADER), b"")
        request_id = client_id.decode() if _VALID_ID.fullmatch(client_id) else new_request_id()
        scope.setdefault("state", {})["request_id"] = request_id
        request = Request(scope, receive)
        try:
            refuse_other_sites(request)
            self.access.check(required_scope(scope["method"], scope["path"]), scope["headers"])
            route = self._direct_route(scope)
            response = await route.answer(request) if route is not None else None
        except Exception as error:  # noqa: BLE001  every error is logged and answered
            response = error_answer(request, error, self.metrics)
        if response is None:
            await self._pass_on(scope, receive, send, started)
            return
        _add_headers(response.raw_headers, request_id)
        self._count(scope, response.status_code, started)
        await response(scope, receive, send)

    def _direct_route(self, scope: Scope) -> DirectRoute | None:
        """Return the direct route that matches the request, None if there is none."""
        for regex, methods, route in self.direct_routes:
            match = regex.match(scope["path"])
            if match and scope["method"] in methods:
                scope["route"] = route
                scope["path_params"] = match.groupdict()
                return route
        return None

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, started: float) -> None:
        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(message["headers"], scope["state"]["request_id"])
                self._count(scope, message["status"], started)
            await send(message)

        await self.app(scope, receive, send_with_id)

    def _count(self, scope: Scope, status: int, started: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.count_answer(route, status, time.perf_counter() - started)


def _add_headers(headers: list[tuple[bytes, bytes]], request_id: str) -> None:
    """Add the headers of every answer, except a policy or a cache lifetime that the answer sets itself, as pages do."""
    names = {name for name, _ in headers}
    headers += ((_ID_HEADER, request_id.encode()), *_SECURITY_HEADERS)
    if _POLICY_HEADER not in names:
        headers.append(_STRICT_POLICY)
    if _CACHE_HEADER not in names:
        headers.append(_NO_STORE)


def add_error_handlers(app: FastAPI, metrics: Metrics) -> None:
    """Answer every error in one form: the service's, the validator's, the router's, and unexpected ones."""

    async def answer(request: Request, error: Exception) -> Response:
        return error_answer(request, error, metrics)

    for kind in (ServiceError, LongtailError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)


def error_answer(request: Request, error: Exception, metrics: Metrics) -> Response:
    """Return the answer to an error, and log an unexpected one with the request's id."""
    if isinstance(error, HTTPException):
        answer = _describe_http(request, error)
    elif isinstance(error, RequestValidationError):
        answer = describe(RequestError("; ".join(map(_problem, error.errors()))))
    else:
        answer = describe(error)
    if not isinstance(error, ServiceError | LongtailError | RequestValidationError | HTTPException):
        log.error("request %s failed", request_id_of(request), exc_info=error)
    error.__traceback__ = None  # its frames may refer to the error, which would keep pictures and models in memory
    metrics.errors.labels(answer.code).inc()
    body = error_body(request.scope["path"], answer.code, answer.message, request_id_of(request))
    return Response(orjson.dumps(body), answer.status, headers=answer.headers, media_type="application/json")


def _describe_http(request: Request, error: HTTPException) -> ErrorAnswer:
    """Return the answer to an error of the router, such as an unknown path."""
    phrase = HTTPStatus(error.status_code).phrase.lower()
    message = f"{request.method} {request.url.path[:128]}: {phrase}; see /docs"
    headers = dict(error.headers or {}) | _allowed(request, error.status_code)
    return ErrorAnswer(error.status_code, phrase.replace(" ", "_"), message, headers)


def _allowed(request: Request, status: int) -> dict[str, str]:
    """Return the Allow header of a 405 answer; the router's own names only the methods of the path's first route."""
    path = getattr(request.scope.get("route"), "path", None)
    methods = request.app.openapi()["paths"].get(path) if status == HTTPStatus.METHOD_NOT_ALLOWED else None
    return {"Allow": ", ".join(sorted(map(str.upper, methods)))} if methods else {}


def _problem(problem: Any) -> str:
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg'].lower()}, not {str(problem.get('input'))[:64]!r}"
