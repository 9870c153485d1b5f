"""Compression of request and response bodies; decompression stops at the size limit."""

import asyncio
import gzip
import zlib
from itertools import count

from service.errors import BodyTooLargeError, RequestError, UnsupportedMediaTypeError

__all__ = ["accepted_encoding", "compressed", "decompressed"]

WINDOW_BITS = {"gzip": 31, "deflate": 15}  # HTTP's deflate is the zlib format
MAX_IN_PLACE_BYTES = 16_384  # compressing up to this much takes less time than handing it to a thread
MIN_BYTES = 1024  # a shorter answer fits into one packet anyway
LEVEL = 1  # higher levels hardly make floating-point numbers smaller


async def decompressed(body: bytes, encoding: str, max_mb: float) -> bytes:
    """Return a decompressed request body.

    Args:
        body: the body as received.
        encoding: the value of Content-Encoding, "" if there is none.
        max_mb: maximum number of megabytes (10^6 bytes) after decompression.

    Raises:
        UnsupportedMediaTypeError: the encoding is neither gzip nor deflate.
        BodyTooLargeError: the decompressed body is larger than `max_mb`.
        RequestError: the body is not one complete stream of that encoding.

    """
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding not in WINDOW_BITS:
        raise UnsupportedMediaTypeError(f"content encoding {encoding[:64]!r} is not supported; send gzip or deflate")
    return await asyncio.to_thread(_decompress, body, encoding, max_mb)


async def compressed(body: bytes, encoding: str) -> bytes:
    """Return a response body, compressed with gzip or deflate."""
    compress = gzip.compress if encoding == "gzip" else zlib.compress
    if len(body) <= MAX_IN_PLACE_BYTES:
        return compress(body, LEVEL)
    return await asyncio.to_thread(compress, body, LEVEL)


def accepted_encoding(header: str, size: int) -> str | None:
    """Return the encoding for an answer of `size` bytes that the client prefers; None to send it uncompressed.

    Args:
        header: the value of Accept-Encoding, "" if there is none.
        size: bytes of the answer.

    >>> [accepted_encoding(text, 5000) for text in ("gzip, deflate, br", "gzip;q=0.5, deflate", "br, gzip;q=0")]
    ['gzip', 'deflate', None]

    """
    if size < MIN_BYTES or not header:
        return None
    position = count()
    candidates = []
    for part in header[:256].split(","):
        name, _, parameters = part.strip().lower().partition(";")
        if name.strip() in WINDOW_BITS and (quality := _quality(parameters)) > 0:
            candidates.append((-quality, next(position), name.strip()))
    return min(candidates)[2] if candidates else None


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def _decompress(body: bytes, encoding: str, max_mb: float) -> bytes:
    max_bytes = int(max_mb * 1e6)
    stream = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        result = stream.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise RequestError(f"the body is not {encoding}, although its Content-Encoding says so: {error}") from error
    if len(result) > max_bytes:
        raise BodyTooLargeError(f"the body exceeds {max_mb:g} MB after decompression; send less in one request")
    if not stream.eof:
        raise RequestError(f"the body ends before its {encoding} stream does; send one complete stream")
    if stream.unused_data:
        raise RequestError(f"the body continues after the end of its {encoding} stream; send one complete stream")
    return result
