"""Zip files whose names are bytes of any encoding, as programs other than Python write them."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

__all__ = ["unicode_path", "zip_of_bytes"]


def zip_of_bytes(files: Mapping[bytes, bytes], extras: Mapping[bytes, bytes] = {}) -> bytes:
    """Return a zip without the UTF-8 flag. `extras` are the extra fields of some names."""
    file = io.BytesIO()
    stand_ins: dict[bytes, bytes] = {}
    with zipfile.ZipFile(file, "w") as archive:
        for number, (name, data) in enumerate(files.items()):
            stand_in = f"~{number:03}{'~' * (len(name) - 4)}"
            stand_ins[stand_in.encode()] = name
            entry = zipfile.ZipInfo(stand_in)
            entry.extra = extras.get(name, b"")
            archive.writestr(entry, data)
    content = file.getvalue()
    for stand_in, name in stand_ins.items():
        content = content.replace(stand_in, name)
    return content


def unicode_path(name: str, raw: bytes) -> bytes:
    """Return Info-ZIP's extra field with the name in UTF-8 of an entry whose own name is `raw`."""
    content = struct.pack("<BL", 1, zlib.crc32(raw)) + name.encode()
    return struct.pack("<HH", 0x7075, len(content)) + content
