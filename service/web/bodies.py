"""Request bodies: read up to a limit, whatever Content-Length says, parsed as JSON, and validated.

JSON has a lower limit than pictures because the event loop parses it while all other requests wait.
"""

import codecs
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.types import Message, Receive

from service.errors import (
    BodyTooLargeError,
    ClientDisconnectedError,
    MultipartError,
    RequestError,
    UnsupportedMediaTypeError,
)
from service.inference.admission import BodyBudget

__all__ = [
    "body_chunks",
    "check_charset",
    "check_content_length",
    "limited",
    "media_type_of",
    "read_body",
    "read_json",
    "validated",
]

Fields = TypeVar("Fields", bound=BaseModel)
MAX_SHOWN_LENGTH = 64  # characters of a value that an error message quotes
CHARSETS = {"utf-8", "ascii", "iso8859-1"}  # Python's names; other codecs raise various errors or produce surrogates


def media_type_of(request: Request) -> str:
    """Return the body's media type in lower case, without parameters; "" if the request has no Content-Type."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_charset(request: Request) -> None:
    """Check that a form's names and texts are in a common encoding.

    Raises:
        MultipartError: the form declares another one.

    """
    _, parameters = parse_options_header(request.headers.get("content-type", ""))
    charset = parameters.get(b"charset", b"utf-8").decode("latin-1")
    try:
        known = codecs.lookup(charset).name in CHARSETS
    except (LookupError, ValueError):  # unknown, or a name with a null byte
        known = False
    if not known:
        raise MultipartError(f"the form declares the charset {charset[:MAX_SHOWN_LENGTH]!r}; use utf-8")


def limited(request: Request, max_mb: float) -> Request:
    """Return the request with a limit on its body. The body does not count as memory, for forms that go to disk.

    Args:
        request: a request whose body has not been read yet.
        max_mb: megabytes (10^6 bytes).

    Raises:
        BodyTooLargeError: Content-Length exceeds the limit; raised later if the body itself does.

    """
    check_content_length(request, max_mb)
    return Request(request.scope, _limited_receive(request.receive, max_mb))


async def read_body(request: Request, max_mb: float, body_budget: BodyBudget) -> bytes:
    """Return the body.

    Args:
        request: a request whose body has not been read yet.
        max_mb: megabytes (10^6 bytes).
        body_budget: counts the body as memory.

    Raises:
        BodyTooLargeError: the body, or its Content-Length, exceeds the limit.
        OverloadedError: the bodies of all requests would exceed the memory for them.
        ClientDisconnectedError: the client disconnected before the body was complete.

    """
    check_content_length(request, max_mb)
    parts = []
    received = 0
    more = True
    while more:
        message = await request.receive()
        parts.append(_chunk_of(message))
        received += len(parts[-1])
        if received > max_mb * 1e6:
            raise _too_large(max_mb)
        body_budget.take(request.scope, len(parts[-1]))
        more = message.get("more_body", False)
    return b"".join(parts)


async def body_chunks(request: Request, max_mb: float, body_budget: BodyBudget) -> AsyncIterator[bytes]:
    """Yield the body as it arrives; see `read_body` for arguments and errors."""
    check_content_length(request, max_mb)
    received = 0
    more = True
    while more:
        message = await request.receive()
        chunk = _chunk_of(message)
        received += len(chunk)
        if received > max_mb * 1e6:
            raise _too_large(max_mb)
        body_budget.take(request.scope, len(chunk))
        yield chunk
        more = message.get("more_body", False)


async def read_json(request: Request, max_mb: float, body_budget: BodyBudget) -> Any:
    """Return the body's JSON. NaN, infinities and very deep nesting are refused.

    The Content-Type must be JSON: a browser would let another site send any other type in the user's name.

    Args:
        request: a request whose body has not been read yet.
        max_mb: megabytes (10^6 bytes).
        body_budget: counts the body as memory.

    Raises:
        UnsupportedMediaTypeError: the Content-Type is not JSON.
        RequestError: the body is not JSON.
        BodyTooLargeError, OverloadedError, ClientDisconnectedError: see `read_body`.

    """
    media_type = media_type_of(request)
    if media_type != "application/json":
        raise UnsupportedMediaTypeError(
            f"content type {media_type[:MAX_SHOWN_LENGTH]!r} is not JSON; send application/json"
        )
    try:
        return orjson.loads(await read_body(request, max_mb, body_budget))
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is not JSON: {error}") from error


def validated(model: type[Fields], fields: Any) -> Fields:
    """Return the fields of a body as an object.

    Args:
        model: its pydantic model.
        fields: the parsed body.

    Raises:
        RequestError: a field is missing, unknown or invalid; the message names the first such field.

    """
    names = ", ".join(model.model_fields)
    if not isinstance(fields, dict):
        raise RequestError(f"the body must be a JSON object; its fields are: {names}")
    unknown = next((name for name in fields if name not in model.model_fields), None)
    if unknown is not None:
        raise RequestError(f"unknown field {unknown[:MAX_SHOWN_LENGTH]!r}; the fields are: {names}")
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(f"{part!s:.64}" for part in first["loc"][:2]) or "the body"
        reason = first["msg"].removeprefix("Value error, ")
        raise RequestError(f"{where}: {reason[:1].lower()}{reason[1:]}, not {_shown(first['input'])}") from error


def _shown(value: Any) -> str:
    """Return a short form of a value for an error message."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return repr(value[:MAX_SHOWN_LENGTH] if isinstance(value, str) else value)[: MAX_SHOWN_LENGTH + 2]


def check_content_length(request: Request, max_mb: float) -> None:
    """Refuse a request whose Content-Length exceeds `max_mb` megabytes (10^6 bytes).

    Raises:
        BodyTooLargeError: it does.

    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_mb * 1e6:
        raise _too_large(max_mb)


def _chunk_of(message: Message) -> bytes:
    """Return the part of the body that a message carries."""
    if message["type"] == "http.disconnect":
        raise ClientDisconnectedError("the client disconnected before the body was complete")
    chunk: bytes = message.get("body", b"")
    return chunk


def _limited_receive(receive: Receive, max_mb: float) -> Receive:
    received = 0

    async def receive_within_limit() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > max_mb * 1e6:
            raise _too_large(max_mb)
        return message

    return receive_within_limit


def _too_large(max_mb: float) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body exceeds {max_mb:g} MB; send less in one request")
