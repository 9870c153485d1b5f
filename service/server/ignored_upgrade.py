"""Reading on after a request that asks to upgrade to another protocol, which this server ignores (RFC 9110, 7.8).

The parser takes everything after such a head for the other protocol, the request's body too. Java's HTTP client sends
`Upgrade: h2c` with each of its first requests, so that its POST would arrive without a body. A new parser therefore
reads the body and the requests after it.
"""

from collections.abc import Iterable
from typing import Protocol

import httptools

__all__ = ["Events", "body_headers", "body_parser"]

_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class Events(Protocol):
    """What a parser tells a connection."""

    def on_message_begin(self) -> None:
        """Take note that a request begins."""

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""

    def on_headers_complete(self) -> None:
        """Take note that the head is over."""

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""

    def on_message_complete(self) -> None:
        """Take note that the request is over."""


class _AfterTheHead:
    """Passes a parser's events on, except those of the first head.

    Attributes:
        begun: whether the first head is over.

    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self.begun = False
        self.on_body = events.on_body
        self.on_message_complete = events.on_message_complete

    def on_message_begin(self) -> None:
        if self.begun:
            self._events.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self.begun:
            self._events.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.begun:
            self._events.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.begun:
            self._events.on_headers_complete()


def body_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers that say how long the body is; none if there is no body.

    >>> body_headers([(b"content-length", b"0")]), body_headers([(b"content-length", b"7")])
    ([], [(b'content-length', b'7')])
    """
    return [(name, value) for name, value in headers if name in _FRAMING and value.strip(b"0 ")]


def body_parser(events: Events, framing: Iterable[tuple[bytes, bytes]]) -> httptools.HttpRequestParser:
    """Return a parser that has read a head with these headers and is ready for the body.

    Args:
        events: is told about the body and about all requests after it.
        framing: the headers that say how long the body is.

    """
    relay = _AfterTheHead(events)
    parser = httptools.HttpRequestParser(relay)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
    head = b"".join(b"%b: %b\r\n" % header for header in framing)
    parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % head)
    relay.begun = True
    return parser
