"""Separates a picture from its metadata, so that what does not touch pixels neither refuses nor changes a picture.

Pillow reads text, colour profiles, previews and XMP when it opens a picture. It refuses the picture if one of them is
damaged or too large, and turns it as XMP says if EXIF says nothing. Nothing of that reaches it: it gets the chunks or
segments that decide about pixels, and the caller gets EXIF, which says how the picture is turned. Nothing is unpacked
here, so metadata takes no more memory than the file.
"""

import re
import zlib

__all__ = ["split_metadata"]

_PNG = b"\x89PNG\r\n\x1a\n"
_IN_PIXELS = b"tRNS"  # the only optional chunk of a PNG that says what its pixels are; animations are optional, too
_NEXT_MARKER = re.compile(rb"\xff([^\x00\xff\x01\xd0-\xd8])")  # those that a length follows, and the end
_APPLICATION = range(0xE0, 0xF0)
_COMMENT = 0xFE
_SCAN = 0xDA
_END = 0xD9
_COLOURS = {
    0xE0: (b"JFIF\0", 14),
    0xEE: (b"Adobe", 12),
}  # segments that say what the channels are, and their least size
_EXIF = b"Exif\0\0"
_RIFF_HEADER = b"RIFF----WEBP"
_WEBP_METADATA = (b"ICCP", b"EXIF", b"XMP ")


def split_metadata(data: bytes) -> tuple[bytes, bytes]:
    """Return the picture without metadata, and its EXIF data; empty if there is none.

    A file that is damaged in a place that matters stays damaged in the same way; one of another format is returned
    unchanged. If there are several EXIF chunks, the first counts. A JPEG's long EXIF is several segments, which are
    joined.

    Args:
        data: a JPEG, PNG or WebP file.

    """
    if data.startswith(_PNG):
        return _split_png(data)
    if data.startswith(b"\xff\xd8"):
        return _split_jpeg(data)
    if data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X":
        return _split_webp(data)
    return data, b""


def _split_png(data: bytes) -> tuple[bytes, bytes]:
    """Keep the chunks without which a PNG cannot be shown, as their names say, and a transparent colour."""
    picture = bytearray()
    exif = b""
    kept_from = 0
    position = len(_PNG)
    while (kind := data[position + 4 : position + 8]).isalpha() and kind != b"IEND":
        end = position + 12 + int.from_bytes(data[position : position + 4])
        if kind[:1].islower() and kind != _IN_PIXELS:
            if kind == b"eXIf" and not exif and zlib.crc32(data[position + 4 : end - 4]) == _number(data, end - 4):
                exif = data[position + 8 : end - 4]
            picture += data[kept_from:position]
            kept_from = end
        position = end
    return (bytes(picture + data[kept_from:]) if kept_from else data), exif


def _split_jpeg(data: bytes) -> tuple[bytes, bytes]:
    """Keep everything but application segments and comments before the first scan."""
    picture = bytearray()
    exif = b""
    kept_from = 0
    position = 2
    while marker := _NEXT_MARKER.search(data, position):
        kind = marker[1][0]
        start = marker.start()
        length = int.from_bytes(data[start + 2 : start + 4])
        position = start + 2 + length
        if kind in (_SCAN, _END) or length < 2 or position > len(data):
            break
        if kind not in _APPLICATION and kind != _COMMENT:
            continue
        name, least = _COLOURS.get(kind, (b"", 0))
        if name and length - 2 >= least and data.startswith(name, start + 4):
            continue
        if kind == 0xE1 and data.startswith(_EXIF, start + 4):
            exif += data[start + 4 + len(_EXIF) : position]
        picture += data[kept_from:start]
        kept_from = position
    return (bytes(picture + data[kept_from:]) if kept_from else data), exif


def _split_webp(data: bytes) -> tuple[bytes, bytes]:
    """Keep all chunks but those for a colour profile, EXIF and XMP."""
    picture = bytearray()
    exif = b""
    kept_from = position = len(_RIFF_HEADER)
    stop = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while position < stop:
        kind = data[position : position + 4]
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        end = position + 8 + length + length % 2
        if kind in _WEBP_METADATA:
            if kind == b"EXIF" and not exif:
                exif = data[position + 8 : position + 8 + length]
            picture += data[kept_from:position]
            kept_from = end
        position = end
    if kept_from == len(_RIFF_HEADER):
        return data, b""
    picture += data[kept_from:stop]
    return b"RIFF" + (4 + len(picture)).to_bytes(4, "little") + b"WEBP" + picture, exif


def _number(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 4])
