"""Result ids: what a caller sends back when it knows the right answer. Ordered by time, and nobody can guess one.

An id is a UUID of version 7 (RFC 9562) as 32 hexadecimal digits: 48 bits of milliseconds since 1970, 74 random bits.
The time inside tells an id that has expired from one that never was, without a table of all ids ever given.
"""

import os
import re
import time

__all__ = ["is_result_id", "new_result_id", "time_of"]

_RANDOM_BITS = 80  # 6 of them are then overwritten by version and variant
_FREE = ~(0xF << 76 | 0x3 << 62)
_VERSION_AND_VARIANT = 0x7 << 76 | 0x2 << 62
_FORM = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")


def new_result_id() -> str:
    """Return an id that was never given before, by this process or another; about a microsecond."""
    number = time.time_ns() // 1_000_000 << _RANDOM_BITS | int.from_bytes(os.urandom(10), "big")
    return f"{number & _FREE | _VERSION_AND_VARIANT:032x}"


def is_result_id(text: str) -> bool:
    """Say whether a text has the form of an id.

    >>> is_result_id("01a20dac039c7aa3912d77855a3cfdb1"), is_result_id("0")
    (True, False)
    """
    return _FORM.fullmatch(text) is not None


def time_of(result_id: str) -> float:
    """Return when an id was given, in seconds since 1970.

    >>> time_of("01a20dac039c7aa3912d77855a3cfdb1")
    1795525706.652
    """
    return int(result_id[:12], 16) / 1000
