"""Unguessable ids of results and requests. A client sends a result's id back together with the right label.

A result's id is a version 7 UUID (RFC 9562) as 32 hexadecimal digits: 48 bits of milliseconds since 1970 and 74 random
bits. The time in it tells an expired id from one that never existed, without a table of all ids.

Reading random bytes from the system releases the interpreter lock, and in a busy server getting the lock back takes
much longer than the read. So each thread reads several thousand bytes at a time.
"""

import os
import re
import threading
import time

__all__ = ["is_result_id", "new_request_id", "new_result_id", "time_of"]

_VARIANT = {
    digit: "89ab"[index % 4] for index, digit in enumerate("0123456789abcdef")
}  # RFC 9562 fixes two of the four bits
_FORM = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")


class _Randomness(threading.local):
    """A buffer of the system's random bytes for each thread; a forked process starts with an empty one."""

    STOCK_BYTES = 8192

    def __init__(self) -> None:
        self.stock = b""
        self.used = 0

    def take(self, count: int) -> bytes:
        """Return `count` random bytes; no byte is returned twice."""
        if self.used + count > len(self.stock):
            self.stock = os.urandom(self.STOCK_BYTES)
            self.used = 0
        start = self.used
        self.used = self.used + count
        return self.stock[start : self.used]

    def forget(self) -> None:
        """Empty the buffer."""
        self.stock = b""
        self.used = 0


_randomness = _Randomness()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_randomness.forget)


def new_result_id() -> str:
    """Return a new id, unique across processes. Takes about a microsecond."""
    digits = _randomness.take(10).hex()
    return f"{time.time_ns() // 1_000_000:012x}7{digits[:3]}{_VARIANT[digits[3]]}{digits[4:19]}"


def new_request_id() -> str:
    """Return 32 random hexadecimal digits."""
    return _randomness.take(16).hex()


def is_result_id(text: str) -> bool:
    """Return whether a text has the form of a result's id.

    >>> is_result_id("01a20dac039c7aa3912d77855a3cfdb1"), is_result_id("0")
    (True, False)
    """
    return _FORM.fullmatch(text) is not None


def time_of(result_id: str) -> float:
    """Return when an id was made, in seconds since 1970.

    >>> time_of("01a20dac039c7aa3912d77855a3cfdb1")
    1795525706.652
    """
    return int(result_id[:12], 16) / 1000
