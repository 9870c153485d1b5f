"""Bodies that come or go compressed. What comes is stopped at the limit, however small it was on the way."""

import asyncio
import gzip
import zlib
from itertools import count

from service.errors import BodyTooLargeError, RequestError, UnsupportedMediaTypeError

__all__ = ["accepted_encoding", "compressed", "decompressed"]

WINDOW_BITS = {"gzip": 31, "deflate": 15}  # deflate in HTTP is what others call zlib
IN_PLACE_BYTES = 16_384  # less than this takes less time than handing it to a thread
WORTH_BYTES = 1024  # a shorter answer fits into one packet anyway
LEVEL = 1  # floating-point numbers hardly get smaller at any other


async def decompressed(body: bytes, encoding: str, max_mb: float) -> bytes:
    """Return the body as it was before it was compressed.

    Args:
        body: as it came.
        encoding: what Content-Encoding says; "" where it says nothing.
        max_mb: most megabytes (10^6 bytes) that may come out.

    Raises:
        UnsupportedMediaTypeError: neither gzip nor deflate.
        BodyTooLargeError: more comes out.
        RequestError: it is not what it says it is.

    """
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding not in WINDOW_BITS:
        raise UnsupportedMediaTypeError(f"content encoding {encoding[:64]!r} is not supported; send gzip or deflate")
    return await asyncio.to_thread(_inflated, body, encoding, max_mb)


async def compressed(body: bytes, encoding: str) -> bytes:
    """Return the body as gzip or deflate."""
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    if len(body) <= IN_PLACE_BYTES:
        return pack(body, LEVEL)
    return await asyncio.to_thread(pack, body, LEVEL)


def accepted_encoding(header: str, size: int) -> str | None:
    """Return what an answer of so many bytes shall be compressed with: what the client prefers, None for nothing.

    >>> [accepted_encoding(text, 5000) for text in ("gzip, deflate, br", "gzip;q=0.5, deflate", "br, gzip;q=0")]
    ['gzip', 'deflate', None]
    """
    if size < WORTH_BYTES or not header:
        return None
    order = count()
    wanted = []
    for part in header[:256].split(","):
        name, _, parameters = part.strip().lower().partition(";")
        if name.strip() in WINDOW_BITS and (quality := _quality(parameters)) > 0:
            wanted.append((-quality, next(order), name.strip()))
    return min(wanted)[2] if wanted else None


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def _inflated(body: bytes, encoding: str, max_mb: float) -> bytes:
    most = int(max_mb * 1e6)
    stream = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        unpacked = stream.decompress(body, most + 1)
    except zlib.error as error:
        raise RequestError(f"the body is not {encoding}, as its Content-Encoding says: {error}") from error
    if len(unpacked) > most:
        raise BodyTooLargeError(f"the body exceeds {max_mb:g} MB once unpacked; send less in one request")
    if not stream.eof or stream.unused_data:
        what = "goes on after" if stream.eof else "ends before"
        raise RequestError(f"the body {what} its {encoding} data does; send it as one whole stream")
    return unpacked
