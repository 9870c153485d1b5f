"""An error's answer as bytes, for a connection that refuses a request before the application sees it."""

from collections.abc import Iterable
from email.utils import formatdate

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.errors import ErrorAnswer
from service.web.answer_headers import add_headers, request_id_from
from service.web.error_body import error_body

__all__ = ["closing", "refusal"]

_CLOSE = (b"connection", b"close")  # uvicorn does not send it in every version and case


def closing(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer after which the connection closes: they say so, and not how long it stays open.

    >>> closing([(b"date", b"now"), (b"keep-alive", b"timeout=75")])
    [(b'date', b'now'), (b'connection', b'close')]
    """
    return [*(header for header in headers if header[0] not in {b"keep-alive", b"connection"}), _CLOSE]


def refusal(answer: ErrorAnswer, path: str, request_headers: Iterable[tuple[bytes, bytes]], *, body: bool) -> bytes:
    """Return an error's answer, in the form and with the headers of any other, for a connection that is then closed.

    Args:
        answer: what the client is told.
        path: the request's path as far as it is known, which decides the form.
        request_headers: the request's headers as far as they are known, with names in lower case.
        body: whether the answer has its body; one to HEAD has only the body's length.

    """
    request_id = request_id_from(request_headers)
    text = orjson.dumps(error_body(path, answer.code, answer.message, request_id))
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
    headers += (
        (b"date", formatdate(usegmt=True).encode()),
        (b"connection", b"close"),
        (b"content-length", str(len(text)).encode()),
        (b"content-type", b"application/json"),
    )
    add_headers(headers, request_id)
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return b"%b%b\r\n%b" % (STATUS_LINE[answer.status], lines, text if body else b"")
