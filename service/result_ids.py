"""Ids that nobody can guess: of results, ordered by time, which a caller sends back with the right answer; of requests.

A result's id is a UUID of version 7 (RFC 9562) as 32 hexadecimal digits: 48 bits of milliseconds since 1970, 74 random
bits. The time inside tells an id that has expired from one that never was, without a table of all ids ever given.

Asking the system for a few random bytes lets go of the interpreter's lock, and getting it back takes a busy server much
longer than the bytes do; so they are fetched some thousands at a time.
"""

import os
import re
import threading
import time

__all__ = ["is_result_id", "new_request_id", "new_result_id", "time_of"]

_VARIANT = {digit: "89ab"[index % 4] for index, digit in enumerate("0123456789abcdef")}  # two bits of four are fixed
_FORM = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")


class _Randomness(threading.local):
    """The system's random bytes, a stock for each thread; a forked process begins with an empty one."""

    STOCK_BYTES = 8192

    def __init__(self) -> None:
        self.stock = b""
        self.used = 0

    def take(self, count: int) -> bytes:
        """Return so many bytes that were never returned before."""
        if self.used + count > len(self.stock):
            self.stock = os.urandom(self.STOCK_BYTES)
            self.used = 0
        start = self.used
        self.used = self.used + count
        return self.stock[start : self.used]

    def forget(self) -> None:
        """Begin anew."""
        self.stock = b""
        self.used = 0


_randomness = _Randomness()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_randomness.forget)


def new_result_id() -> str:
    """Return an id that was never given before, by this process or another; about a microsecond."""
    digits = _randomness.take(10).hex()
    return f"{time.time_ns() // 1_000_000:012x}7{digits[:3]}{_VARIANT[digits[3]]}{digits[4:19]}"


def new_request_id() -> str:
    """Return 32 random hexadecimal digits."""
    return _randomness.take(16).hex()


def is_result_id(text: str) -> bool:
    """Say whether a text has the form of a result's id.

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
