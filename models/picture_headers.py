"""What a picture's bytes say before anything is decoded: its format, a WebP file's size, a JPEG's scans.

`preprocess.py` uses these checks to refuse a file that would take too much time or memory to decode.
"""

import re

from PIL import Image

from models.errors import UnreadableImageError, UnsupportedImageError

__all__ = ["MAX_SCANS", "count_scans", "unreadable", "webp_size"]

MAX_SCANS = 100  # of a JPEG; encoders write up to a dozen, and each scan is a pass over the whole picture
_SCAN = 0xDA
_END = 0xD9
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # anything else is data, padding or a restart inside a scan
_OTHER_FORMATS = (  # offset, first bytes, name
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"<svg", "SVG"),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "Photoshop"),
)


def unreadable(data: bytes, error: Exception) -> UnreadableImageError | UnsupportedImageError:
    """Return the error for bytes that Pillow cannot open, naming the format if it is a known one."""
    for offset, magic, name in _OTHER_FORMATS:
        if data[offset : offset + len(magic)] == magic:
            return UnsupportedImageError(f"the image is a {name} file; send JPEG, PNG or WebP")
    if data[:3] == b"\xff\xd8\xff" or data[:4] in (b"\x89PNG", b"RIFF"):
        return UnreadableImageError(f"the image is truncated or damaged: {str(error) or type(error).__name__}")
    return UnreadableImageError("these bytes are not an image; send a JPEG, PNG or WebP file")


def webp_size(data: bytes) -> tuple[int, int]:
    """Return a WebP file's (width, height); (0, 0) for any other file.

    Pillow's WebP reader allocates the pixels when it opens a file, so the size must be known before.
    """
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return 0, 0
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return 0, 0


def count_scans(image: Image.Image, data: bytes) -> int:
    """Return the number of scans in a JPEG, counting up to MAX_SCANS + 1. Embedded and appended pictures do not count.

    A scan of a few dozen bytes may change nothing and still takes a pass over all pixels, so a file of tiny scans takes
    hours to decode.
    """
    progressive = "progressive" in image.info
    position = 2
    scans = 0
    while scans <= MAX_SCANS and (marker := _MARKER.search(data, position)):
        position = marker.end()
        kind = marker[1][0]
        if kind == _END:
            break
        if kind == _SCAN:
            whole = not progressive and data[position + 2 : position + 3] == bytes([len(image.getbands())])
            if not scans and (whole or data.count(b"\xff\xda") <= MAX_SCANS):  # nearly every file
                return 1
            scans += 1
        if kind != 0x01:  # it stands alone; every other marker is followed by a length
            position += max(2, int.from_bytes(data[position : position + 2]))
    return scans
