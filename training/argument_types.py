"""Numbers as the command line takes them: what cannot be one is refused by argparse, before any work is done."""

import argparse
import re

__all__ = ["pixels", "positive_int", "seed", "threads"]

MAX_INT = 1_000_000_000  # more epochs, pixels or steps than anybody has
MAX_SIDE = 8192  # pixels; as the bundle's manifest has it
MAX_SEED = 2**40
MAX_THREADS = 1024  # operating systems refuse more at some point, and in words that help nobody
_DIGITS = re.compile(r"[0-9]{1,15}")


def positive_int(text: str) -> int:
    """Return a whole number from 1.

    Raises:
        argparse.ArgumentTypeError: it is none; argparse says it with the option's name.

    >>> positive_int("224")
    224

    """
    return _whole(text, 1, MAX_INT)


def pixels(text: str) -> int:
    """Return the side of a picture, 1 to 8192 pixels.

    Raises:
        argparse.ArgumentTypeError: as `positive_int`.

    """
    return _whole(text, 1, MAX_SIDE)


def seed(text: str) -> int:
    """Return a seed, 0 to 2^40: torch, NumPy and JSON all take it.

    Raises:
        argparse.ArgumentTypeError: as `positive_int`.

    """
    return _whole(text, 0, MAX_SEED)


def threads(text: str) -> int:
    """Return a number of threads, 1 to 1024.

    Raises:
        argparse.ArgumentTypeError: as `positive_int`.

    """
    return _whole(text, 1, MAX_THREADS)


def _whole(text: str, least: int, most: int) -> int:
    if not _DIGITS.fullmatch(text.strip()) or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from {least} to {most:,}")
    return int(text)
