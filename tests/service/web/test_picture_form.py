"""Which files a form holds, however it arrives, and which error a broken one gets."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.requests import Request

from service.errors import BodyTooLargeError, MultipartError, ServiceError, TooManyFilesError
from service.inference.admission import BodyBudget
from service.settings import Settings
from service.web.picture_form import MAX_TEXT_BYTES, PictureForm
from service.web.uploads import read_uploads

CONTENT_TYPE = "multipart/form-data; boundary=b"
END = b"--b--\r\n"


def part(disposition: str, data: bytes = b"x", *headers: str) -> bytes:
    lines = ("--b", f"Content-Disposition: form-data; {disposition}", *headers, "", "")
    return "\r\n".join(lines).encode() + data + b"\r\n"


def picture(name: str, data: bytes = b"x") -> bytes:
    return part(f'name="files"; filename="{name}"', data, "Content-Type: image/png")


def parsed(body: bytes, *, piece: int = 1 << 20, content_type: str = CONTENT_TYPE, max_files: int = 3) -> PictureForm:
    """The form after its body has arrived in pieces of this many bytes."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), piece):
            yield body[start : start + piece]

    form = PictureForm(content_type, "files", max_files)
    asyncio.run(form.parse(chunks()))
    return form


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_files_are_read_however_they_arrive(piece: int) -> None:
    body = picture("a.png", b"one\r\n--") + part('name="other"; filename="o"') + picture("", b"") + END
    form = parsed(body, piece=piece)
    assert form.files == [("a.png", b"one\r\n--"), ("", b"")]
    assert not form.has_text


def test_a_text_in_the_field_is_noticed_and_in_another_one_is_not() -> None:
    assert parsed(picture("a") + part('name="files"') + END).has_text
    assert not parsed(picture("a") + part('name="note"') + END).has_text


@pytest.mark.parametrize(
    ("charset", "name"), [("", "bär"), ("; charset=utf-8", "bär"), ("; charset=iso-8859-1", "bÃ¤r")]
)
def test_names_are_read_in_the_declared_charset(charset: str, name: str) -> None:
    ((found, _),) = parsed(picture("bär") + END, content_type=CONTENT_TYPE + charset).files
    assert found == name


def test_a_name_that_is_not_in_the_charset_is_read_as_latin_1() -> None:
    ((found, _),) = parsed(picture("bär").replace("ä".encode(), b"\xe4") + END).files
    assert found == "bär"


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (picture("a") * 4 + END, TooManyFilesError, "more than 3 files; send them in several requests"),
        (part('name="x"; filename="y"') * 4 + END, TooManyFilesError, "more than 3 files"),
        (part('name="x"') * 4 + END, MultipartError, "more than 3 text fields"),
        (part('name="x"', bytes(MAX_TEXT_BYTES + 1)) + END, MultipartError, "a text field exceeds 1024 KB"),
        (part('filename="y"') + END, MultipartError, "a part has no name"),
        (b"hello", MultipartError, "the form cannot be read: "),
        (b"--b\r\nno header\r\n\r\n", MultipartError, "the form cannot be read: "),
    ],
    ids=["files", "other files", "texts", "a long text", "no name", "no form", "no header"],
)
@pytest.mark.parametrize("piece", [5, 1 << 20])
def test_each_fault_has_its_error(body: bytes, error: type[ServiceError], message: str, piece: int) -> None:
    with pytest.raises(error, match=message):
        parsed(body, piece=max(piece, len(body) // 100))


def test_a_form_without_a_boundary_is_refused() -> None:
    with pytest.raises(MultipartError, match="its content type has no boundary"):
        PictureForm("multipart/form-data", "files", 3)


def test_files_up_to_the_limit_are_accepted() -> None:
    assert len(parsed(picture("a") * 3 + part('name="x"') * 3 + END).files) == 3


def test_a_form_that_ends_early_has_only_its_complete_files() -> None:
    assert parsed(picture("a") + picture("b")[:-5]).files == [("a", b"x")]


def test_a_form_that_is_too_large_is_refused_as_such_even_without_a_boundary() -> None:
    headers = [(b"content-type", b"multipart/form-data"), (b"content-length", b"999999999")]
    request = Request({"type": "http", "method": "POST", "headers": headers})
    with pytest.raises(BodyTooLargeError):
        asyncio.run(read_uploads(request, Settings(), BodyBudget(256.0)))
