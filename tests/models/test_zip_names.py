"""The names in a zip are read as what they are, or the encoding is asked for."""

import io
import re
import zipfile

import pytest

from models.errors import ArchiveNamesError
from models.zip_names import ZIP_ENCODINGS, check_zip_encoding, zip_names
from tests.zips import unicode_path, zip_of_bytes

FOXES = "F\u00fcchse/1.jpg"
TIMES = b"UT\x05\x00\x03\x00\x00\x00\x00"  # the extra field that Info-ZIP always writes


def names(*raw: bytes, encoding: str | None = None, extra: bytes = b"") -> list[str]:
    content = zip_of_bytes(dict.fromkeys(raw, b""), dict.fromkeys(raw, extra))
    return zip_names(zipfile.ZipFile(io.BytesIO(content)), encoding)


@pytest.mark.parametrize(
    "name",
    [FOXES, "Fu\u0308chse/1.jpg", "\u732b/\u72ac.png", "\u043b\u0438\u0441\u0430/", "\U0001f98a/1.webp", "cat/1.jpg"],
)
def test_utf_8_without_the_flag_is_read_as_utf_8(name: str) -> None:
    assert names(name.encode()) == [name]


def test_the_flag_of_the_zip_is_believed() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(FOXES, b"")
    assert zip_names(zipfile.ZipFile(file), "cp850") == [FOXES]


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("cp850", FOXES),
        ("CP437", FOXES),
        ("latin1", FOXES),
        ("cp932", "\u732b/\u8868.png"),  # the second byte of the last character is a backslash
        ("gbk", "\u72d7/1.png"),
        ("cp866", "\u043b\u0438\u0441\u0430/1.jpg"),
        ("mac-roman", FOXES),
    ],
)
def test_a_named_encoding_is_used_and_without_it_the_names_are_refused(encoding: str, name: str) -> None:
    raw = name.encode(encoding)
    assert names(raw, b"cat/1.jpg", encoding=encoding) == [name, "cat/1.jpg"]
    with pytest.raises(ArchiveNamesError, match=re.escape(repr(raw)) + " is not UTF-8, and the zip does not say"):
        names(raw)


def test_a_name_that_is_utf_8_by_chance_is_read_in_the_named_encoding() -> None:
    assert names("\u732b/1.png".encode("gbk")) == ["\u00e8/1.png"]  # nothing tells them apart
    assert names("\u732b/1.png".encode("gbk"), encoding="gbk") == ["\u732b/1.png"]


def test_the_refusal_shows_what_the_name_would_be() -> None:
    with pytest.raises(ArchiveNamesError, match=r"'Füchse/1\.jpg' in cp850, "):
        names(FOXES.encode("cp850"))
    with pytest.raises(ArchiveNamesError, match=r"'Füchse/1\.jpg' in cp1252, "):
        names(FOXES.encode("cp1252"))


@pytest.mark.parametrize("raw", [FOXES.encode("cp850"), b"F#U00fcchse/1.jpg", b"F?chse/1.jpg"])
@pytest.mark.parametrize("before", [b"", TIMES])
def test_the_name_that_info_zip_adds_is_taken(raw: bytes, before: bytes) -> None:
    assert names(raw, extra=before + unicode_path(FOXES, raw)) == [FOXES]


def test_a_name_that_info_zip_added_to_another_name_is_passed_over() -> None:
    """A program that renamed the entry and did not know the field left it as it was."""
    assert names(b"cat/1.jpg", extra=unicode_path("dog/1.jpg", b"dog/1.jpg")) == ["cat/1.jpg"]


def test_only_names_of_pictures_and_folders_must_be_readable() -> None:
    assert len(names(FOXES.encode(), b"Lies\x81mich.txt", b"__MACOSX/F\x81chse/1.jpg", b".F\x81/1.jpg")) == 4
    for raw in (b"cat/F\x81chse.JPG", b"F\x81chse/"):
        with pytest.raises(ArchiveNamesError):
            names(raw)


def test_a_name_that_is_not_in_the_named_encoding_is_refused() -> None:
    with pytest.raises(ArchiveNamesError, match=r"b'F\\x81chse/1.jpg' is not cp1252"):
        names(b"F\x81chse/1.jpg", encoding="cp1252")


@pytest.mark.parametrize(
    "encoding", ["", "klingon", "rot13", "utf-16", "utf-7", "base64", "idna", "cp850\n", "ü", "x" * 9999]
)
def test_what_is_no_encoding_of_names_is_refused(encoding: str) -> None:
    with pytest.raises(ArchiveNamesError, match="is not an encoding of file names; use one such as cp850 or cp932"):
        check_zip_encoding(encoding)


def test_every_encoding_reads_ascii_as_it_is() -> None:
    letters = bytes(range(32, 127)).replace(b"\\", b"").replace(b"~", b"")
    for encoding in ZIP_ENCODINGS:
        assert check_zip_encoding(encoding) == encoding
        assert letters.decode(encoding) == letters.decode("ascii")
