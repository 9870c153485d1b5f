"""A request's body, never more of it than the limit, whatever its Content-Length says; and what its fields say.

JSON has a limit of its own: parsing it and looking at every part of it holds everybody else up.
"""

import codecs
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header

from service.context import context_of
from service.errors import (
    BodyTooLargeError,
    ClientDisconnectedError,
    MultipartError,
    RequestError,
    UnsupportedMediaTypeError,
)
from service.settings import Settings

__all__ = ["check_charset", "limited", "media_type_of", "read_body", "read_json", "validated"]

Receive = Callable[[], Awaitable[Any]]
Fields = TypeVar("Fields", bound=BaseModel)
SHOWN = 64  # characters of what was sent
CHARSETS = {"utf-8", "ascii", "iso8859-1"}  # as Python calls them; others raise what they like, or make half characters


def media_type_of(request: Request) -> str:
    """Return what the body says it is, without parameters; "" where it does not say."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_charset(request: Request) -> None:
    """Refuse a form whose names and texts are in an encoding that hardly anything but Python knows.

    Raises:
        MultipartError: they are.

    """
    _, parameters = parse_options_header(request.headers.get("content-type", ""))
    charset = parameters.get(b"charset", b"utf-8").decode("latin-1")
    try:
        known = codecs.lookup(charset).name in CHARSETS
    except (LookupError, ValueError):  # no such encoding; a name that holds a zero byte
        known = False
    if not known:
        raise MultipartError(f"the form says that its texts are in {charset[:SHOWN]!r}; send them as utf-8")


def limited(request: Request, max_mb: float, *, to_disk: bool = False) -> Request:
    """Return the same request, whose body is counted as it arrives and stopped at so many megabytes (10^6 bytes).

    Args:
        request: of which nothing has been read.
        max_mb: the limit.
        to_disk: its files go to disk, so it takes no room in memory.

    Raises:
        BodyTooLargeError: it says itself that it is too large; or later, when too much of it has come.
        OverloadedError: likewise, when too much of all requests is in memory.

    """
    _check_declared(request, max_mb)
    return Request(request.scope, _counted(request, max_mb, to_disk))


async def read_body(request: Request, max_mb: float) -> bytes:
    """Return the body, of at most so many megabytes (10^6 bytes).

    Raises:
        BodyTooLargeError: it says itself that it is too large, or more of it has come.
        OverloadedError: there is no room for it, beside all others'.
        ClientDisconnectedError.

    """
    _check_declared(request, max_mb)
    room = context_of(request).body_budget
    parts = []
    received = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError("the client hung up while it was sending")
        parts.append(message.get("body", b""))
        received += len(parts[-1])
        if received > max_mb * 1e6:
            raise _too_large(max_mb)
        room.take(request.scope, len(parts[-1]))
        more = message.get("more_body", False)
    return b"".join(parts)


async def read_json(request: Request, settings: Settings) -> Any:
    """Return the body's JSON; NaN, infinities and nesting without end are none.

    Raises:
        BodyTooLargeError, ClientDisconnectedError.
        UnsupportedMediaTypeError: it does not say that it is JSON, which a foreign page could send in a user's name.
        RequestError: it is not JSON.

    """
    media_type = media_type_of(request)
    if media_type != "application/json":
        raise UnsupportedMediaTypeError(f"content type {media_type[:64]!r} is not JSON; send it as application/json")
    try:
        return orjson.loads(await read_body(request, settings.max_json_mb))
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is not JSON: {error}") from error


def validated(kind: type[Fields], fields: Any) -> Fields:
    """Return what the fields of a body ask for.

    Raises:
        RequestError: a field missing, unknown, or of another type; the sentence names the first of them.

    """
    if not isinstance(fields, dict):
        raise RequestError(f"the body is no JSON object; its fields may be: {', '.join(kind.model_fields)}")
    unknown = next((name for name in fields if name not in kind.model_fields), None)
    if unknown is not None:
        raise RequestError(f"{unknown[:SHOWN]!r} is no field; there are: {', '.join(kind.model_fields)}")
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(f"{part!s:.64}" for part in first["loc"][:2]) or "the body"
        reason = first["msg"].removeprefix("Value error, ")
        raise RequestError(f"{where}: {reason[:1].lower()}{reason[1:]}, not {_shown(first['input'])}") from error


def _shown(value: Any) -> str:
    """Show what was sent, however large it is."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return repr(value[:SHOWN] if isinstance(value, str) else value)[: SHOWN + 2]


def _check_declared(request: Request, max_mb: float) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_mb * 1e6:
        raise _too_large(max_mb)


def _counted(request: Request, max_mb: float, to_disk: bool) -> Receive:
    room = context_of(request).body_budget
    receive = request.receive
    received = 0

    async def counted() -> Any:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > max_mb * 1e6:
            raise _too_large(max_mb)
        if not to_disk:
            room.take(request.scope, len(message.get("body", b"")))
        return message

    return counted


def _too_large(max_mb: float) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body exceeds {max_mb:g} MB; send less in one request")
