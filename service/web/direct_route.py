"""Routes on the hot path: FastAPI documents them, and stays out of the way of their requests.

FastAPI's layers (middleware, dependencies, validation by pydantic) cost a good part of what a small network takes to
answer. A thin route is called with its parameters straight from the request; what it
documents is its signature, as of any other route, so neither can say something the other does not.
"""

import inspect
from collections.abc import Callable, Coroutine, Mapping
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs

from fastapi import Request, Response
from fastapi.routing import APIRoute

from service.errors import RequestError

__all__ = ["DirectRoute"]

KEPT_QUERIES = 256  # whose meaning is remembered; clients send the same few again and again
MAX_CACHED_BYTES = 2048  # bytes: a hundred alphas


class DirectRoute(APIRoute):
    """A route whose function takes the request, then path and query parameters: `str`, `int`, `float`, `list[str]`.

    In a query the last one counts where one is repeated, and an unknown one is ignored, as in every route.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._kinds = _kinds(self.endpoint)
        self._short = lru_cache(KEPT_QUERIES)(self._read)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what FastAPI calls, should a request come by way of it."""
        return self.answer

    async def answer(self, request: Request) -> Response:
        """Call the function with what the request says.

        Raises:
            RequestError: a parameter is not what it should be; and whatever the function raises.

        """
        query = request.scope["query_string"]
        parameters = self._short(query) if len(query) <= MAX_CACHED_BYTES else self._read(query)
        response: Response = await self.endpoint(request, **request.path_params, **parameters)
        return response

    def _read(self, query: bytes) -> Mapping[str, Any]:
        """Return a query string's parameters; the same one may be handed out many times."""
        try:
            given = parse_qs(query.decode(), keep_blank_values=True)
        except UnicodeDecodeError as error:
            raise RequestError(f"the address is not UTF-8: {error}") from error
        except ValueError as error:
            raise RequestError(f"the address cannot be read: {error}") from error
        return {
            name: _converted(alias, values, kind)
            for name, (alias, kind) in self._kinds.items()
            if (values := given.get(alias)) is not None
        }


def _kinds(function: Callable[..., Any]) -> dict[str, tuple[str, Any]]:
    """Return how each query parameter is called in the address, and what it is to become."""
    kinds = {}
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is inspect.Parameter.empty:  # the request, or a part of the path
            continue
        kind = hints[name]
        alias = name
        if get_origin(kind) is Annotated:
            kind, *notes = get_args(kind)
            alias = next((note.alias for note in notes if getattr(note, "alias", None)), name)
        if get_origin(kind) is UnionType:
            kind = next(each for each in get_args(kind) if each is not NoneType)
        if kind not in (str, int, float, list[str]):
            raise TypeError(f"{function.__name__}: a thin route cannot read {name}, a {kind}")
        kinds[name] = alias, kind
    return kinds


def _converted(name: str, values: list[str], kind: Any) -> Any:
    if kind == list[str]:
        return values
    text = values[-1]
    try:
        value = kind(text) if "_" not in text or kind is str else None  # 1_0, which only Python takes for a number
    except ValueError:
        value = None
    if value is None:
        what = {int: "a whole number", float: "a number"}[kind]
        raise RequestError(f"{name} must be {what}, not {text[:64]!r}")
    return value
