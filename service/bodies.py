"""A request's body, never more of it than the limit, whatever its Content-Length says."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from fastapi import Request
from starlette.requests import ClientDisconnect

from service.errors import BodyTooLargeError, ClientGoneError, RequestError, UnsupportedMediaTypeError
from service.settings import Settings

__all__ = ["limited", "read_json"]

Receive = Callable[[], Awaitable[Any]]


def limited(request: Request, max_mb: float) -> Request:
    """Return the same request, whose body is counted as it arrives and stopped at so many megabytes (10^6 bytes).

    Raises:
        BodyTooLargeError: it says itself that it is too large; or later, when too much of it has come.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_mb * 1e6:
        raise _too_large(max_mb)
    return Request(request.scope, _counted(request.receive, max_mb))


async def read_json(request: Request, settings: Settings) -> Any:
    """Return the body's JSON; NaN, infinities and nesting without end are none.

    Raises:
        BodyTooLargeError, ClientGoneError.
        UnsupportedMediaTypeError: it does not say that it is JSON, which a foreign page could send in a user's name.
        RequestError: it is not JSON.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaTypeError(f"content type {media_type[:64]!r} is not JSON; send it as application/json")
    try:
        return orjson.loads(await limited(request, settings.max_body_mb).body())
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is not JSON: {error}") from error
    except ClientDisconnect as error:
        raise ClientGoneError("the client hung up while it was sending") from error


def _counted(receive: Receive, max_mb: float) -> Receive:
    received = 0

    async def counted() -> Any:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > max_mb * 1e6:
            raise _too_large(max_mb)
        return message

    return counted


def _too_large(max_mb: float) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body exceeds {max_mb:g} MB; send less in one request")
