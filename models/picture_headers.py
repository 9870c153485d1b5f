"""What a picture's bytes say before anything is decoded: its format, a WebP file's size, a JPEG's scans.

`preprocess.py` uses these checks to refuse a file that would take too much time or memory to decode.
"""

import re

from PIL import Image

from models.errors import UnreadableImageError, UnsupportedImageError

__all__ = ["MAX_SCANS", "count_scans", "looks_like_a_picture", "undecodable", "unreadable", "webp_size"]

MAX_SCANS = 100  # of a JPEG; encoders write up to a dozen, and each scan is a pass over the whole picture
_SCAN = 0xDA
_END = 0xD9
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7)  # lossless, hierarchical, and JPEG-LS
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA, *_OTHER_FRAMES)
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
_FORMATS = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG", "PNG"), (b"RIFF", "WebP"))


def looks_like_a_picture(data: bytes) -> bool:
    """Return whether the first bytes are those of a picture format, supported or not.

    >>> [looks_like_a_picture(data) for data in (b"RIFF\\x24", b"GIF89a", b"alpha=0")]
    [True, True, False]
    """
    known = _other_format(data) is not None
    return known or any(data.startswith(magic) for magic, _ in _FORMATS)


def unreadable(data: bytes) -> UnreadableImageError | UnsupportedImageError:
    """Return the error for bytes that Pillow cannot open, naming the format if it is a known one.

    Pillow's own texts speak of Python objects and byte strings, so they are only in the error's cause.
    """
    if name := _other_format(data):
        return UnsupportedImageError(f"the image is a {name} file; send JPEG, PNG or WebP")
    for magic, name in _FORMATS:
        if data.startswith(magic) and (name != "WebP" or b"WEBP".startswith(data[8:12])):
            return _another_jpeg(data) or UnreadableImageError(
                f"the {name} image is truncated or damaged: its header cannot be read; save or send it again"
            )
    return UnreadableImageError("these bytes are not an image; send a JPEG, PNG or WebP file")


def undecodable(data: bytes, kind: str, error: Exception) -> UnreadableImageError | UnsupportedImageError:
    """Return the error for a picture whose pixels Pillow cannot decode.

    Args:
        data: the picture.
        kind: its format, as Pillow calls it.
        error: Pillow's.

    >>> str(undecodable(b"...", "PNG", OSError("image file is truncated (3 bytes not processed)")))
    'the PNG image is truncated or damaged: the file ends before its last pixel; save or send it again'

    """
    what = "the file ends before its last pixel" if "truncated" in str(error) else "its pixels cannot be decoded"
    name = "WebP" if kind == "WEBP" else kind
    return _another_jpeg(data) or UnreadableImageError(
        f"the {name} image is truncated or damaged: {what}; save or send it again"
    )


def _another_jpeg(data: bytes) -> UnsupportedImageError | None:
    """Return the error for a JPEG that common programs do not show: lossless, not 8 bits, or with odd channels."""
    position = 2 if data.startswith(b"\xff\xd8") else len(data)
    while marker := _MARKER.search(data, position):
        kind = marker[1][0]
        start = marker.end()
        if kind in _FRAMES:
            what = ""
            if kind in _OTHER_FRAMES:
                what = "is lossless, hierarchical or JPEG-LS"
            elif len(data) > start + 7 and data[start + 2] != 8:
                what = f"has {data[start + 2]} bits a channel"
            elif len(data) > start + 7 and data[start + 7] not in (1, 3, 4):
                what = f"has {data[start + 7]} channels"
            sentence = (
                f"the JPEG image {what}; save it as an ordinary JPEG, of 8 bits and 1, 3 or 4 channels, or as PNG"
            )
            return UnsupportedImageError(sentence) if what else None
        if kind in (_SCAN, _END):
            return None
        position = start if kind == 0x01 else start + max(2, int.from_bytes(data[start : start + 2]))
    return None


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


def _other_format(data: bytes) -> str | None:
    """Return the name of a known format that is not supported."""
    return next((name for offset, magic, name in _OTHER_FORMATS if data.startswith(magic, offset)), None)
