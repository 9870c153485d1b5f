"""Request bodies: read up to a limit, whatever Content-Length says, parsed as JSON, and validated.

JSON has a lower limit than pictures because the event loop parses it while all other requests wait.
"""

import codecs
from collections.abc import AsyncIterator, Mapping
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
from service.web.unique_keys import check_unique_keys

__all__ = [
    "JSON_TYPE",
    "MAX_SHOWN_LENGTH",
    "body_chunks",
    "check_charset",
    "check_content_encoding",
    "check_content_length",
    "has_body",
    "limited",
    "media_type_of",
    "not_json",
    "parse_json",
    "problem",
    "read_body",
    "read_json",
    "validated",
]

Fields = TypeVar("Fields", bound=BaseModel)
MAX_SHOWN_LENGTH = 64  # characters of a value that an error message quotes
JSON_TYPE = "application/json"
CHARSETS = {"utf-8", "ascii", "iso8859-1"}  # Python's names; other codecs raise various errors or produce surrogates


def media_type_of(request: Request) -> str:
    """Return the body's media type in lower case, without parameters; "" if the request has no Content-Type."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def has_body(request: Request) -> bool:
    """Return whether a request announces a body."""
    headers = request.headers
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""


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


def check_content_encoding(request: Request) -> None:
    """Check that a body is not compressed.

    Raises:
        UnsupportedMediaTypeError: its Content-Encoding says that it is.

    """
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity"}:
        raise UnsupportedMediaTypeError(
            f"the body is compressed, with content encoding {encoding[:MAX_SHOWN_LENGTH]!r}; send it uncompressed"
        )


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
        UnsupportedMediaTypeError: the Content-Type is not JSON, or the body is compressed.
        RequestError: the body is not JSON.
        BodyTooLargeError, OverloadedError, ClientDisconnectedError: see `read_body`.

    """
    if media_type_of(request) != JSON_TYPE:
        raise not_json(request)
    check_content_encoding(request)
    return parse_json(await read_body(request, max_mb, body_budget))


def parse_json(text: bytes, what: str = "the body") -> Any:
    """Return the value of a JSON text.

    Args:
        text: the JSON.
        what: how an error message names it.

    Raises:
        RequestError: it is not JSON, or an object has a key twice.

    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"{what} is not JSON: {error}") from error

    check_unique_keys(text, value, what)
    return value


def not_json(request: Request, *others: str) -> UnsupportedMediaTypeError:
    """Return the error for a body that is not JSON.

    Args:
        request: the request.
        others: the other media types that it may have.

    """
    media_type = media_type_of(request)
    shown = f"content type {media_type[:MAX_SHOWN_LENGTH]!r}" if media_type else "a body without a content type"
    return UnsupportedMediaTypeError(f"{shown} is not supported here; send {' or '.join((JSON_TYPE, *others))}")


def validated(model: type[Fields], fields: Mapping[str, Any], names: Mapping[str, str]) -> Fields:
    """Return the fields of a request as an object.

    Args:
        model: its pydantic model.
        fields: the values, by field.
        names: what the request calls each field.

    Raises:
        RequestError: a field is missing or invalid; the message names the first such field.

    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        field, *inner = map(str, _first(error)["loc"])
        where = [names.get(field, field), *(part for part in inner if "[" not in part)][:2]
        raise RequestError(problem(error, ".".join(part[:MAX_SHOWN_LENGTH] for part in where))) from error


def problem(error: ValidationError, name: str) -> str:
    """Return a sentence about the first problem with the value of `name`."""
    first = _first(error)
    kind = first["type"]
    if kind == "missing":
        return f"{name} is missing; give it in the JSON body or in the query"
    shown = _shown(first["input"])
    if kind.startswith("int_"):
        return f"{name} must be a whole number, not {shown}"
    if kind.startswith("float_"):
        return f"{name} must be a number, not {shown}"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{name}: {reason[:1].lower()}{reason[1:]}, not {shown}"


def _first(error: ValidationError) -> Mapping[str, Any]:
    """Return the first problem; of those with a field of several types, the one that is furthest inside it.

    The location of a problem with one of several types has the type as a part, such as `dict[str,float]`.
    """
    problems = error.errors(include_url=False)
    same = [each for each in problems if each["loc"][:1] == problems[0]["loc"][:1]]
    return max(same, key=lambda each: len(each["loc"]))


def _shown(value: Any) -> str:
    """Return a short form of a value for an error message."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if value is None:
        return "null"
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
