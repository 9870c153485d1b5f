"""Checks of a request's head that the parser leaves to the server: address, Host, version, codings, expectations.

The rules are those of RFC 9112 (HTTP/1.1). A request that breaks one is refused with a sentence instead of being
answered as if it said something else.
"""

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from service.errors import ExpectationError, HttpVersionError, MalformedRequestError, NotSupportedError

__all__ = ["checked_target", "head_size"]

Header = tuple[bytes, bytes]
VERSIONS = frozenset({"1.0", "1.1"})
_CHECKED = frozenset({b"host", b"transfer-encoding", b"expect"})
_ABSOLUTE = re.compile(rb"(?i:https?)://(?:[^/?#@]*@)?([^/?#]*)(.*)", re.DOTALL)
_NAME = rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*"
_LITERAL = rb"\[(?:[0-9A-Fa-f:.]+(?:%[A-Za-z0-9\-._~%]+)?|v[0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+)\]"
_HOST = re.compile(rb"(?:%b|%b)(?::[0-9]*)?" % (_LITERAL, _NAME))
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
MAX_CACHED_HOSTS = 64  # clients use the same few names again and again


def checked_target(method: bytes, target: bytes, version: str, headers: list[Header]) -> bytes:
    """Check a request's head; return its address as a path with its query.

    Args:
        method: the request's method.
        target: the address in the request line. One with a scheme and a host, as clients send it to proxies, also
            replaces the Host header, as the standard asks.
        version: the version of HTTP, such as `1.1`.
        headers: the headers, with names in lower case.

    Raises:
        MalformedRequestError: Host is missing, doubled or invalid, or the address is not a percent-encoded path.
        HttpVersionError: the version is not 1.0 or 1.1.
        NotSupportedError: the method is CONNECT, or the body has a transfer coding other than chunked.
        ExpectationError: Expect asks for something other than 100-continue.

    """
    if version not in VERSIONS:
        raise HttpVersionError(f"this server speaks HTTP/1.1 and HTTP/1.0, not HTTP/{version}")
    if method == b"CONNECT":
        raise NotSupportedError("CONNECT is for proxies; this server is not one")
    hosts = 0
    for name, value in headers:
        if name in _CHECKED:
            if name == b"host":
                hosts += 1
            _check_header(name, value)
    if hosts != 1 and (hosts or version == "1.1"):
        count = f"{hosts} Host headers" if hosts else "no Host header"
        raise MalformedRequestError(f"the request has {count}; send one, with the server's name")
    if target[:1] != b"/":
        target = _path_of(method, target, headers)
    if b"#" in target:
        raise MalformedRequestError("the address has a #; leave out the fragment, or write %23 for the character")
    if b"%" in target:
        _check_escapes(target)
    return target


def head_size(target: bytes, headers: list[Header]) -> int:
    """Return how many bytes the address and the headers have."""
    return len(target) + sum(len(name) + len(value) for name, value in headers)


@lru_cache(MAX_CACHED_HOSTS)
def _check_header(name: bytes, value: bytes) -> None:
    text = value.strip().lower()
    if name == b"host" and not _HOST.fullmatch(text):
        shown = value[:64].decode("utf-8", "replace")
        raise MalformedRequestError(f"the Host header is {shown!r}; send a name or an address, and a port if needed")
    if name == b"expect" and text != b"100-continue":
        shown = value[:64].decode("utf-8", "replace")
        raise ExpectationError(f"the Expect header is {shown!r}; only 100-continue can be expected")
    if name == b"transfer-encoding" and text != b"chunked":
        shown = value[:64].decode("utf-8", "replace")
        raise NotSupportedError(f"the Transfer-Encoding is {shown!r}; send the body as it is, or chunked")


def _path_of(method: bytes, target: bytes, headers: list[Header]) -> bytes:
    """Return the path and query of an address that does not begin with a slash."""
    if target == b"*" and method == b"OPTIONS":
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        shown = target[:64].decode("utf-8", "replace")
        raise MalformedRequestError(f"the address is {shown!r}; begin it with / or http://")
    host, rest = absolute.groups()
    _check_header(b"host", host)
    headers[:] = [(name, host if name == b"host" else value) for name, value in headers]
    return rest if rest.startswith(b"/") else b"/" + rest


def _check_escapes(target: bytes) -> None:
    """Check that the address is UTF-8 once it is decoded, and that each % in its path begins an escape."""
    broken = _BROKEN_ESCAPE.search(target.partition(b"?")[0])
    if broken is not None:
        shown = broken[0].decode("utf-8", "replace")
        raise MalformedRequestError(f"the address has {shown!r}, which is not an escape; write %25 for a percent sign")
    try:
        unquote_to_bytes(target).decode()
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise MalformedRequestError(
            f"the address has the byte %{byte:02X}, which is not UTF-8 there; percent-encode the bytes of UTF-8 text"
        ) from error
