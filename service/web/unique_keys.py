"""A JSON object with the same key twice is refused, because a parser would pass over one of the values.

orjson keeps the last value without a word. Python's own reader can report each key, but takes several times as long, so
it only reads a text that may have a key twice: every key is followed by a colon, and most texts have no other colons.
"""

import json
from typing import Any

from service.errors import RequestError

__all__ = ["check_unique_keys"]

MAX_SHOWN_LENGTH = 64  # characters of a key that the message quotes


def check_unique_keys(text: bytes, value: Any, what: str) -> None:
    """Check that no object in a JSON text has a key twice.

    Args:
        text: the JSON, which is valid.
        value: what orjson read from it.
        what: how the message names the text.

    Raises:
        RequestError: an object has a key twice, or the text is nested too deep to tell.

    >>> check_unique_keys(b'{"alpha": 1, "alpha": 2}', {"alpha": 2}, "the body")
    Traceback (most recent call last):
        ...
    service.errors.RequestError: the body has the key 'alpha' twice; give it once

    """

    def unique(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise RequestError(f"{what} has the key {key[:MAX_SHOWN_LENGTH]!r} twice; give it once")
            seen.add(key)

    if text.count(b":") == _key_count(value):
        return
    try:
        json.loads(text, object_pairs_hook=unique, parse_int=str, parse_float=str)
    except RecursionError as error:
        raise RequestError(f"{what} is nested too deep") from error


def _key_count(value: Any) -> int:
    """Return how many keys a value has, or fewer: lists that do not begin with an object are not searched."""
    count = 0
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            count += len(each)
            pending += each.values()
        elif isinstance(each, list) and each and isinstance(each[0], dict):
            pending += each
    return count
