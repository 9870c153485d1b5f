"""Around every request: an id, a key, a time, a count, headers for browsers, and one shape for whatever goes wrong."""

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
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HEADER = b"x-request-id"
_POLICY = b"content-security-policy"
_CACHE = b"cache-control"
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_NO_PAGE = (_POLICY, b"default-src 'none'; frame-ancestors 'none'")
_NOT_KEPT = (_CACHE, b"no-store")


class RequestEnvelope:
    """The outermost middleware: request ids, cross-site and key checks, counters and times.

    A request for a direct route is answered here; all others are passed on.

    Args:
        app: whom they are passed on to.
        access: whether a call may pass.
        metrics: where answers are counted.
        direct_routes: the first that fits answers.

    """

    def __init__(
        self, app: ASGIApp, access: Access, metrics: Metrics, direct_routes: Sequence[DirectRoute] = ()
    ) -> None:
        self.app = app
        self.access = access
        self.metrics = metrics
        self.direct_routes = [(route.path_regex, route.methods or set(), route) for route in direct_routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        brought = next((value for name, value in scope["headers"] if name == _HEADER), b"")
        request_id = brought.decode() if _SANE_ID.fullmatch(brought) else new_request_id()
        scope.setdefault("state", {})["request_id"] = request_id
        request = Request(scope, receive)
        try:
            refuse_other_sites(request)
            self.access.check(required_scope(scope["method"], scope["path"]), scope["headers"])
            route = self._thin_route(scope)
            response = await route.answer(request) if route is not None else None
        except Exception as error:  # noqa: BLE001  whatever it is, it is logged and answered
            response = error_answer(request, error, self.metrics)
        if response is None:
            await self._pass_on(scope, receive, send, started)
            return
        _complete(response.raw_headers, request_id)
        self._count(scope, response.status_code, started)
        await response(scope, receive, send)

    def _thin_route(self, scope: Scope) -> DirectRoute | None:
        """Return the thin route that a request is for, if it is for one."""
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
                _complete(message["headers"], scope["state"]["request_id"])
                self._count(scope, message["status"], started)
            await send(message)

        await self.app(scope, receive, send_with_id)

    def _count(self, scope: Scope, status: int, started: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.count_answer(route, status, time.perf_counter() - started)


def _complete(headers: list[tuple[bytes, bytes]], request_id: str) -> None:
    """Add what every answer says; a page brings its own policy, and says for how long it may be kept."""
    names = {name for name, _ in headers}
    headers += ((_HEADER, request_id.encode()), *_ALWAYS)
    if _POLICY not in names:
        headers.append(_NO_PAGE)
    if _CACHE not in names:
        headers.append(_NOT_KEPT)


def add_error_handlers(app: FastAPI, metrics: Metrics) -> None:
    """Make every error leave in one shape: ours, the validator's, the router's, and those nobody expected."""

    async def answer(request: Request, error: Exception) -> Response:
        return error_answer(request, error, metrics)

    for kind in (ServiceError, LongtailError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)


def error_answer(request: Request, error: Exception, metrics: Metrics) -> Response:
    """Return what the client is told of an error; what nobody expected is logged under the request's id."""
    if isinstance(error, HTTPException):
        answer = _describe_http(request, error)
    elif isinstance(error, RequestValidationError):
        answer = describe(RequestError("; ".join(map(_problem, error.errors()))))
    else:
        answer = describe(error)
    if not isinstance(error, ServiceError | LongtailError | RequestValidationError | HTTPException):
        log.error("request %s failed", request_id_of(request), exc_info=error)
    error.__traceback__ = None  # whose frames may hold the error, and with it pictures and models
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
    """Return which methods a path has; the router tells those of its first route only."""
    path = getattr(request.scope.get("route"), "path", None)
    methods = request.app.openapi()["paths"].get(path) if status == HTTPStatus.METHOD_NOT_ALLOWED else None
    return {"Allow": ", ".join(sorted(map(str.upper, methods)))} if methods else {}


def _problem(problem: Any) -> str:
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg'].lower()}, not {str(problem.get('input'))[:64]!r}"
