"""The middleware around every request: ids, access checks, metrics, security headers, and one form for all errors."""

import logging
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
from service.web.answer_headers import add_headers, request_id_from
from service.web.direct_route import DirectRoute
from service.web.error_body import error_body
from service.web.request_form import method_of

__all__ = ["RequestEnvelope", "add_error_handlers", "error_answer"]

log = logging.getLogger("longtail.request")


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
        request_id = request_id_from(scope["headers"])
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
        add_headers(response.raw_headers, request_id)
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
                add_headers(message["headers"], scope["state"]["request_id"])
                self._count(scope, message["status"], started)
            await send(message)

        await self.app(scope, receive, send_with_id)

    def _count(self, scope: Scope, status: int, started: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.count_answer(route, status, time.perf_counter() - started)


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
    message = f"{method_of(request.scope)} {request.scope['path'][:128]}: {phrase}; see /docs"
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed(request, headers.get("Allow", "GET"))
    return ErrorAnswer(error.status_code, phrase.replace(" ", "_"), message, headers)


def _allowed(request: Request, said: str) -> str:
    """Return the Allow header of a 405 answer; the router's own names only the methods of the path's first route.

    Args:
        request: the request.
        said: the methods that the error names, for what is not in the API's description: pages and unknown paths.

    """
    path = getattr(request.scope.get("route"), "path", None)
    methods: set[str] = request.app.methods_of_paths.get(path, set(said.split(", ")))
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))


def _problem(problem: Any) -> str:
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg'].lower()}, not {str(problem.get('input'))[:64]!r}"
