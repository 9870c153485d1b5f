"""Routes that read their parameters wherever a request may give them, and refuse what they do not know.

FastAPI reads a parameter from the one place where its signature puts it, passes over all others, and takes the last of
repeated values. These routes make the OpenAPI document as FastAPI does, and read requests by `RouteParameters`.
"""

from collections.abc import Callable, Coroutine, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.routing import APIRoute
from typing_extensions import override

from service.context import Context, context_of
from service.errors import ClientError, MultipartError, ProtocolQueryError, RequestError
from service.settings import Settings
from service.web.bodies import (
    JSON_TYPE,
    body_chunks,
    check_charset,
    check_content_encoding,
    check_content_length,
    has_body,
    media_type_of,
    not_json,
    parse_json,
    read_body,
)
from service.web.multipart_form import FormLimits, MultipartForm
from service.web.route_parameters import FORM, JSON_BODY, RouteParameters

__all__ = ["MULTIPART", "ParameterRoute", "QueryRoute", "form_limits"]

MULTIPART = "multipart/form-data"
URL_ENCODED = "application/x-www-form-urlencoded"
MAX_OTHER_TEXTS = 64  # fields of a form besides its alphas
MAX_CACHED_QUERIES = 256  # clients send the same few query strings again and again
MAX_CACHED_BYTES = 2048  # of one query string; enough for a hundred alphas


class QueryRoute(APIRoute):
    """A route that has parameters only in its query; its function may read the body."""

    def __init__(self, path: str, *arguments: Any, **options: Any) -> None:
        super().__init__(path, *arguments, **options)
        error: type[ClientError] = ProtocolQueryError if path.startswith("/v2/") else RequestError
        self.parameters = RouteParameters(self.endpoint, error)
        self._in_query = lru_cache(MAX_CACHED_QUERIES)(self.parameters.in_query)

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what FastAPI calls if a request reaches this route through FastAPI's own router."""
        return self.answer

    def in_query(self, request: Request) -> Mapping[str, Any]:
        """Return the values in the query, by argument. The cache hands out the same mapping many times."""
        query = request.scope["query_string"]
        return self._in_query(query) if len(query) <= MAX_CACHED_BYTES else self.parameters.in_query(query)

    async def answer(self, request: Request) -> Response:
        """Call the function and return its response.

        Raises:
            ClientError: a parameter is unknown, repeated or invalid.
            Exception: any error that the function raises.

        """
        arguments = self.parameters.arguments(self.in_query(request))
        response: Response = await self.endpoint(request, **request.path_params, **arguments)
        return response


class ParameterRoute(QueryRoute):
    """A route whose body, if a request has one, holds only parameters: a JSON object or a form."""

    @override
    async def answer(self, request: Request) -> Response:
        in_query = self.in_query(request)
        if has_body(request):
            in_body, place = await self._in_body(request, context_of(request))
            arguments = self.parameters.arguments(in_query, in_body, place)
        else:
            arguments = self.parameters.arguments(in_query)
        response: Response = await self.endpoint(request, **request.path_params, **arguments)
        return response

    async def _in_body(self, request: Request, context: Context) -> tuple[dict[str, Any], str]:
        """Return the values in the body, by argument, and what the body is."""
        settings = context.settings
        check_content_encoding(request)
        media_type = media_type_of(request)
        if media_type == MULTIPART:
            check_charset(request)
            check_content_length(request, settings.max_body_mb)
            form = MultipartForm(request.headers["content-type"], None, self.parameters, form_limits(settings))
            await form.parse(body_chunks(request, settings.max_body_mb, context.body_budget))
            return self.parameters.in_texts(form.texts, FORM), FORM
        body = await read_body(request, settings.max_json_mb, context.body_budget)
        if not body:
            return {}, JSON_BODY
        if media_type == URL_ENCODED and body.lstrip()[:1] not in (b"{", b"["):  # which curl -d sends under this type
            return self.parameters.in_texts(_pairs(body), FORM), FORM
        if media_type != JSON_TYPE:
            raise not_json(request, MULTIPART)
        return self.parameters.in_json(parse_json(body)), JSON_BODY


def form_limits(settings: Settings) -> FormLimits:
    """Return how much a form may hold."""
    return FormLimits(settings.max_files, settings.max_alphas + MAX_OTHER_TEXTS, settings.max_json_mb)


def _pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise MultipartError(f"the form cannot be read: {error}") from error
