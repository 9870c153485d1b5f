"""Pictures put together from their parts, because Pillow cannot write some of the kinds that it reads."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAGIC = b"\x89PNG\r\n\x1a\n"
Chunk = tuple[bytes, bytes]


def encode(image: Image.Image | NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(
    width: int, height: int, depth: int, colour: int, rows: bytes, *extra: Chunk, after: Chunk | None = None
) -> bytes:
    """A PNG with further chunks before the pixels, and one after them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    behind = [after] if after else []
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), *behind, (b"IEND", b"")]
    return MAGIC + b"".join(chunk(kind, body) for kind, body in chunks)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def packed(samples: NDArray[np.int64], depth: int) -> bytes:
    """(height, samples of a row) as a PNG's rows of `depth` bits a sample, unfiltered."""
    if depth == 16:
        return b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    bits = np.unpackbits(samples.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - depth :]
    return b"".join(b"\0" + np.packbits(row.reshape(-1)).tobytes() for row in bits)


def with_segments(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG with further segments at its start, each a marker's second byte and a content."""
    return (
        jpeg[:2]
        + b"".join(b"\xff" + bytes([kind]) + struct.pack(">H", len(body) + 2) + body for kind, body in segments)
        + jpeg[2:]
    )


def without_jfif(jpeg: bytes) -> bytes:
    return jpeg[:2] + jpeg[4 + int.from_bytes(jpeg[4:6]) :]


def webp(lossless: bytes, width: int, height: int, *after: Chunk) -> bytes:
    """An extended WebP from a plain lossless one, with further chunks."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + _riff(b"VP8X", b"\x2c\0\0\0" + size) + lossless[12:] + b"".join(_riff(*part) for part in after)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def exif(orientation: int) -> bytes:
    """Return EXIF with an orientation, as a TIFF file."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes().removeprefix(b"Exif\0\0")


def _riff(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
