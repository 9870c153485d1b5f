"""The file names of a zip: UTF-8 if they are UTF-8, otherwise in the encoding that the user names.

Each entry has one bit that says "my name is UTF-8". Some programs set it. The Finder and ditto of macOS write UTF-8
without it. Windows Explorer and older programs write the encoding of their country without it. Info-ZIP adds the name
in UTF-8 in an extra field. Python reads every name without the bit as cp437, so that `Füchse` becomes `F├╝chse`.
"""

import codecs
import struct
import zlib
from collections.abc import Collection
from pathlib import PurePosixPath
from unicodedata import normalize
from zipfile import ZipFile, ZipInfo

from models.errors import ArchiveNamesError
from models.labelled_paths import is_picture

__all__ = ["ZIP_ENCODINGS", "as_earlier_versions_read", "check_zip_encoding", "zip_names"]

_CODE_PAGES = (437, 720, 737, 775, 850, 852, 855, 857, 858, 860, 861, 862, 863, 865, 866, 869, 874, 932, 949, 950)
ZIP_ENCODINGS = frozenset(  # by Python's own names
    ["utf-8", "shift_jis", "euc_jp", "gbk", "gb2312", "gb18030", "big5", "big5hkscs", "euc_kr", "koi8-r", "koi8-u"]
    + [f"cp{page}" for page in (*_CODE_PAGES, *range(1250, 1259))]
    + [f"iso8859-{part}" for part in (*range(1, 12), *range(13, 17))]
    + [f"mac-{script}" for script in ("roman", "latin2", "cyrillic", "greek", "turkish")]
)
_SUGGESTED = ("cp850", "cp1252", "cp932", "gbk", "cp866")  # Windows: western Europe twice, Japan, China, Russia
_IS_UTF_8 = 0x800
_UNICODE_PATH = 0x7075
_MAX_SHOWN = 60


def check_zip_encoding(encoding: str) -> str:
    """Return Python's name of an encoding that file names in a zip may have.

    Raises:
        ArchiveNamesError: it is not one.

    >>> check_zip_encoding("CP850"), check_zip_encoding("latin1")
    ('cp850', 'iso8859-1')

    """
    try:
        name = codecs.lookup(encoding).name if encoding.isascii() and encoding.isprintable() else ""
    except (LookupError, ValueError):
        name = ""
    if name not in ZIP_ENCODINGS:
        raise ArchiveNamesError(
            f"{encoding[:_MAX_SHOWN]!r} is not an encoding of file names; use one such as cp850 or cp932"
        )
    return name


def zip_names(archive: ZipFile, encoding: str | None = None) -> list[str]:
    """Return the name of every entry, in the archive's order.

    Only the names of folders and pictures must be readable; another name is returned as cp437 reads it.

    Args:
        archive: opened without `metadata_encoding`.
        encoding: of the names that the zip does not say to be UTF-8; None takes UTF-8, and refuses other names.

    Raises:
        ArchiveNamesError: a name is not in that encoding, or the encoding is unknown.

    """
    if encoding is not None:
        encoding = check_zip_encoding(encoding)
    return [_name(entry, encoding) for entry in archive.infolist()]


def as_earlier_versions_read(name: str, class_names: Collection[str]) -> str:
    """Return the one of the class names that UTF-8 `name` is if it is read as cp437, as up to version 0.9, or "".

    >>> as_earlier_versions_read("Füchse", ["F├╝chse", "cat"])
    'F├╝chse'

    """
    misread = (normalize(form, name).encode(errors="replace").decode("cp437") for form in ("NFC", "NFD"))
    return next((wrong for wrong in misread if wrong != name and wrong in class_names), "")


def _name(entry: ZipInfo, encoding: str | None) -> str:
    name = entry.orig_filename
    if not entry.flag_bits & _IS_UTF_8:
        raw = name.encode("cp437")
        name = _unicode_path(entry.extra, raw) or (name if name.isascii() else _decoded(raw, encoding))
    return name.partition("\0")[0]


def _unicode_path(extra: bytes, raw: bytes) -> str:
    """Return the name in the extra field that Info-ZIP adds, "" if there is none or if it is of another name."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        content = extra[4 : 4 + length]
        if kind == _UNICODE_PATH and content[:5] == struct.pack("<BL", 1, zlib.crc32(raw)):
            return content[5:].decode(errors="replace")
        extra = extra[4 + length :]
    return ""


def _decoded(raw: bytes, encoding: str | None) -> str:
    try:
        return raw.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        name = raw.decode("cp437")
        if not (name.endswith(("/", "\\")) or is_picture(PurePosixPath(name))):
            return name
        if encoding is not None:
            raise ArchiveNamesError(f"the file name {raw[:_MAX_SHOWN]!r} is not {encoding}") from error
        readings = {reading: known for known in reversed(_SUGGESTED) if (reading := _reading(raw, known))}
        shown = ", ".join(f"{reading[:_MAX_SHOWN]!r} in {known}" for reading, known in reversed(readings.items()))
        raise ArchiveNamesError(
            f"the file name {raw[:_MAX_SHOWN]!r} is not UTF-8, and the zip does not say its encoding"
            + (f"; it is {shown}" if shown else "")
        ) from error


def _reading(raw: bytes, encoding: str) -> str:
    """Return the name as an encoding reads it, "" if it does not."""
    try:
        name = raw.decode(encoding)
    except UnicodeDecodeError:
        return ""
    return name if name.isprintable() else ""
