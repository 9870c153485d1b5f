"""Mutations that turn valid inputs into nearly valid ones, which reach deeper into a parser than random bytes.

All randomness comes from the generator passed in, so that the number of an input reproduces it.
"""

import random
import re
import struct
import zlib
from collections.abc import Callable, Sequence

__all__ = ["mutated", "with_png_checksums"]

MAX_INPUT_BYTES = 1 << 20  # repeating a stretch grows no further
NUMBERS = (
    0,
    1,
    2,
    7,
    8,
    9,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    65536,
    2**24 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
)
IN_TEXT = (
    b"0", b"-1", b"1", b"1e999", b"-0.0", b"NaN", b"null", b"true", b"[]", b"{}", b'""', b"9" * 400,
    b"18446744073709551616", b"4294967296", b"2147483648", b"0.5", b"1_0", b"\xd9\xa3", b'"\\ud800"',
)  # fmt: skip
Rng = random.Random


def mutated(rng: Rng, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Return one of the seeds after one to six changes; one in forty is unchanged.

    Args:
        rng: the source of all randomness.
        seeds: valid inputs.
        words: texts that have a meaning for the parser.

    """
    data = rng.choice(seeds)
    if rng.random() < 0.025:
        return data
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 6))):
        data = rng.choice(CHANGES)(rng, data, seeds, words)
    return data


def with_png_checksums(data: bytes) -> bytes:
    """Return a PNG file with correct checksums; without them, no decoder reads its chunks."""
    made = bytearray(data)
    position = 8
    while position + 12 <= len(made):
        (length,) = struct.unpack_from(">I", made, position)
        end = position + 8 + length
        if end + 4 > len(made):
            break
        struct.pack_into(">I", made, end, zlib.crc32(made[position + 4 : end]))
        position = end + 4
    return bytes(made)


def _flip(rng: Rng, data: bytes, *_: Sequence[bytes]) -> bytes:
    made = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 2, 8))):
        made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    return bytes(made)


def _near_the_start(rng: Rng, data: bytes, *_: Sequence[bytes]) -> bytes:
    """Change a byte near the start, where headers are."""
    made = bytearray(data or b"\0")
    made[rng.randrange(min(len(made), 64))] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
    return bytes(made)


def _number(rng: Rng, data: bytes, *_: Sequence[bytes]) -> bytes:
    """Write a special number of two, three, four or eight bytes, in either byte order."""
    size = rng.choice((2, 3, 4, 4, 8))
    order = rng.choice(("big", "little"))
    number = (rng.choice(NUMBERS) % (1 << 8 * size)).to_bytes(size, order)  # type: ignore[arg-type]
    start = rng.randrange(len(data) + 1)
    return data[:start] + number + data[start + size :]


def _number_in_text(rng: Rng, data: bytes, *_: Sequence[bytes]) -> bytes:
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?|null|true|false", data[:20_000]))
    if not found:
        return _flip(rng, data)
    place = rng.choice(found)
    return data[: place.start()] + rng.choice(IN_TEXT) + data[place.end() :]


def _truncate(rng: Rng, data: bytes, *_: Sequence[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _cut(rng: Rng, data: bytes, *_: Sequence[bytes]) -> bytes:
    start, end = _stretch(rng, data)
    return data[:start] + data[end:]


def _again(rng: Rng, data: bytes, *_: Sequence[bytes]) -> bytes:
    """Repeat a stretch a few times, and now and then very often."""
    start, end = _stretch(rng, data)
    max_times = MAX_INPUT_BYTES // max(end - start, 1) + 1
    times = min(rng.choice((1, 1, 2, 5, 40)), max_times) if rng.random() < 0.98 else max_times
    return (data[:end] + data[start:end] * times + data[end:])[:MAX_INPUT_BYTES]


def _word(rng: Rng, data: bytes, _: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    word = rng.choice(words)
    start = rng.randrange(len(data) + 1)
    end = start + (len(word) if rng.random() < 0.5 else 0)
    return data[:start] + word + data[end:]


def _other_word(rng: Rng, data: bytes, _: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Replace a word by another one."""
    present = [word for word in rng.sample(words, min(len(words), 8)) if word in data]
    return data.replace(present[0], rng.choice(words), rng.choice((1, -1))) if present else _flip(rng, data)


def _splice(rng: Rng, data: bytes, seeds: Sequence[bytes], _: Sequence[bytes]) -> bytes:
    other = rng.choice(seeds)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _random(rng: Rng, data: bytes, *_: Sequence[bytes]) -> bytes:
    start = rng.randrange(len(data) + 1)
    count = rng.choice((1, 4, 16, 64))
    return data[:start] + rng.randbytes(count) + data[start + count :]


def _stretch(rng: Rng, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 2, 4, 16, 64, 256, len(data))))


Change = Callable[[Rng, bytes, Sequence[bytes], Sequence[bytes]], bytes]
CHANGES: tuple[Change, ...] = (
    _flip, _near_the_start, _number, _number, _number_in_text, _truncate, _cut, _again, _word, _other_word, _splice,
    _random,
)  # fmt: skip
