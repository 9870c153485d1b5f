"""Direct routes: routes on the hot path that FastAPI documents but does not run.

FastAPI's layers (middleware, dependencies, validation by pydantic) take a good part of the time that a small network
takes to answer. `RequestEnvelope` therefore calls the function of a direct route itself, with its parameters parsed
from the path and the query. FastAPI still makes the OpenAPI document from the function's signature, so document and
behaviour cannot disagree.
"""

import inspect
from collections.abc import Callable, Coroutine, Mapping
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs

from fastapi import Request, Response
from fastapi.routing import APIRoute
from typing_extensions import override

from service.errors import RequestError

__all__ = ["DirectRoute"]

MAX_CACHED_QUERIES = 256  # clients send the same few query strings again and again
MAX_CACHED_BYTES = 2048  # of one query string; enough for a hundred alphas


class DirectRoute(APIRoute):
    """A route whose function takes the request, the path's parameters, and the query's.

    Query parameters have a default and the type `str`, `int`, `float` or `list[str]`, each with or without None. As in
    every route of FastAPI, the last value of a repeated parameter counts, and unknown parameters are ignored.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._parameters = _query_parameters(self.endpoint)
        self._parse_cached = lru_cache(MAX_CACHED_QUERIES)(self._parse)

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what FastAPI calls if a request reaches this route through FastAPI's own router."""
        return self.answer

    async def answer(self, request: Request) -> Response:
        """Call the function and return its response.

        Raises:
            RequestError: a query parameter has the wrong type.
            Exception: any error that the function raises.

        """
        query = request.scope["query_string"]
        parameters = self._parse_cached(query) if len(query) <= MAX_CACHED_BYTES else self._parse(query)
        response: Response = await self.endpoint(request, **request.path_params, **parameters)
        return response

    def _parse(self, query: bytes) -> Mapping[str, Any]:
        """Return the function's arguments in a query string. The cache hands out the same mapping many times."""
        try:
            given = parse_qs(query.decode(), keep_blank_values=True)
        except UnicodeDecodeError as error:
            raise RequestError(f"the query string is not UTF-8: {error}") from error
        except ValueError as error:
            raise RequestError(f"the query string cannot be parsed: {error}") from error
        return {
            name: _converted(alias, values, kind)
            for name, (alias, kind) in self._parameters.items()
            if (values := given.get(alias)) is not None
        }


def _query_parameters(function: Callable[..., Any]) -> dict[str, tuple[str, Any]]:
    """Return each query parameter's name in the query string, and its type, by its name in the function."""
    parameters = {}
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is inspect.Parameter.empty:  # the request, or a parameter of the path
            continue
        kind = hints[name]
        alias = name
        if get_origin(kind) is Annotated:
            kind, *notes = get_args(kind)
            alias = next((note.alias for note in notes if getattr(note, "alias", None)), name)
        if get_origin(kind) is UnionType:
            kind = next(member for member in get_args(kind) if member is not NoneType)
        if kind not in (str, int, float, list[str]):
            raise TypeError(f"{function.__name__}: a direct route cannot parse parameter {name} of type {kind}")
        parameters[name] = alias, kind
    return parameters


def _converted(name: str, values: list[str], kind: Any) -> Any:
    if kind == list[str]:
        return values
    text = values[-1]
    try:
        value = kind(text) if "_" not in text or kind is str else None  # Python alone reads 1_0 as a number
    except ValueError:
        value = None
    if value is None:
        expected = {int: "a whole number", float: "a number"}[kind]
        raise RequestError(f"{name} must be {expected}, not {text[:64]!r}")
    return value
