"""Types of numbers on the command line; argparse refuses other values before any work is done."""

import argparse
import re

__all__ = ["pixels", "positive_int", "seed", "threads"]

MAX_INT = 1_000_000_000  # more epochs, pixels or steps than any run has
MAX_SIDE = 8192  # pixels; the limit of the bundle's manifest
MAX_SEED = 2**40
MAX_THREADS = 1024  # operating systems refuse more at some point, with obscure messages
_DIGITS = re.compile(r"[0-9]{1,15}")


def positive_int(text: str) -> int:
    """Return a whole number of at least 1.

    Raises:
        argparse.ArgumentTypeError: the text is not such a number; argparse prefixes the option's name.

    >>> positive_int("224")
    224

    """
    return _whole(text, 1, MAX_INT)


def pixels(text: str) -> int:
    """Return the side of an image, 1 to 8192 pixels.

    Raises:
        argparse.ArgumentTypeError: see `positive_int`.

    """
    return _whole(text, 1, MAX_SIDE)


def seed(text: str) -> int:
    """Return a seed, 0 to 2^40, which torch, NumPy and JSON all accept.

    Raises:
        argparse.ArgumentTypeError: see `positive_int`.

    """
    return _whole(text, 0, MAX_SEED)


def threads(text: str) -> int:
    """Return a number of threads, 1 to 1024.

    Raises:
        argparse.ArgumentTypeError: see `positive_int`.

    """
    return _whole(text, 1, MAX_THREADS)


def _whole(text: str, minimum: int, maximum: int) -> int:
    if not _DIGITS.fullmatch(text.strip()) or not minimum <= int(text) <= maximum:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from {minimum} to {maximum:,}")
    return int(text)
