"""Explains bytes that the parser cannot read: what is wrong with them, and what would work."""

import re
from urllib.parse import quote

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserInvalidURLError

from service.errors import HttpVersionError, MalformedRequestError, ServiceError

__all__ = ["explain", "target_in"]

TLS_HANDSHAKE = b"\x16\x03"  # the first two bytes of every version's ClientHello
MAX_SHOWN = 32  # characters
_TARGET = re.compile(rb"[A-Z]+ +(/[^ \r\n]*)")
_NOT_ASCII = re.compile(rb"[\x80-\xff]+")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_FORM = "METHOD, a space, the address, a space, HTTP/1.1"


def explain(error: HttpParserError, data: bytes) -> ServiceError:
    """Return what to tell a client whose bytes are not a request.

    Args:
        error: the parser's.
        data: what arrived last, with the bytes that the parser stopped at.

    """
    reason = str(error)
    if data.startswith(TLS_HANDSHAKE):
        problem = "the client begins a TLS handshake, but this port speaks plain HTTP; begin the address with http://"
    elif isinstance(error, HttpParserInvalidMethodError):
        problem = f"the request does not begin with a method such as GET or POST, in capitals; send {_FORM}"
    elif isinstance(error, HttpParserInvalidURLError):
        problem = _explain_address(data)
    elif reason.startswith("Expected HTTP/"):
        problem = f"the address is not followed by HTTP/1.1; send {_FORM}, and write a space in the address as %20"
    elif "PRI" in reason or "HTTP version" in reason:
        return HttpVersionError(
            "this port speaks HTTP/1.1 and HTTP/1.0; for HTTP/2, put a proxy in front of it; gRPC has a port of its own"
        )
    else:
        problem = f"the request is not valid HTTP/1.1 ({reason})"
    return MalformedRequestError(problem)


def target_in(data: bytes) -> bytes:
    """Return the address in the request line that the bytes begin with, b"" if there is none.

    >>> target_in(b"GET /v2/models HTTP/1.1")
    b'/v2/models'
    """
    found = _TARGET.match(data.lstrip())
    return found[1] if found else b""


def _explain_address(data: bytes) -> str:
    """Say which character of the first line does not belong in an address.

    >>> _explain_address("GET /Füchse HTTP/1.1".encode())
    "the address has 'ü'; percent-encode it as %C3%BC, and other characters beyond ASCII too"
    """
    line = data.lstrip().partition(b"\r\n")[0]
    found = _NOT_ASCII.search(line)
    if found is not None:
        try:
            text = found[0].decode()[:MAX_SHOWN]
        except UnicodeDecodeError:
            return f"the address has the byte 0x{found[0][0]:02x}; percent-encode the bytes of its UTF-8 form"
        return f"the address has {text!r}; percent-encode it as {quote(text)}, and other characters beyond ASCII too"
    control = _CONTROL.search(line)
    if control is not None:
        return f"the address has the byte 0x{control[0][0]:02x}; write it as %{control[0][0]:02X}"
    return f"the address does not begin with / or http://, or has a character that is not allowed there; send {_FORM}"
