"""The headers of every answer: the request's id, and what browsers are told.

Answers of the application and refusals that a connection writes itself have the same ones.
"""

import re
from collections.abc import Iterable

from service.result_ids import new_request_id

__all__ = ["add_headers", "request_id_from"]

_VALID_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ID_HEADER = b"x-request-id"
_POLICY_HEADER = b"content-security-policy"
_CACHE_HEADER = b"cache-control"
_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_STRICT_POLICY = (_POLICY_HEADER, b"default-src 'none'; frame-ancestors 'none'")
_NO_STORE = (_CACHE_HEADER, b"no-store")


def request_id_from(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the client's id of the request if it is valid, else a new one.

    Args:
        headers: the request's headers, with names in lower case.

    """
    client_id = next((value for name, value in headers if name == _ID_HEADER), b"")
    return client_id.decode() if _VALID_ID.fullmatch(client_id) else new_request_id()


def add_headers(headers: list[tuple[bytes, bytes]], request_id: str) -> None:
    """Add the headers of every answer, except a policy or a cache lifetime that the answer sets itself, as pages do."""
    names = {name for name, _ in headers}
    headers += ((_ID_HEADER, request_id.encode()), *_SECURITY_HEADERS)
    if _POLICY_HEADER not in names:
        headers.append(_STRICT_POLICY)
    if _CACHE_HEADER not in names:
        headers.append(_NO_STORE)
