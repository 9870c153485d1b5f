"""Which files a form holds, however it arrives, and which error a broken one gets."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.requests import Request
from starlette.types import Message

from service.errors import BodyTooLargeError, MultipartError, RequestError, ServiceError, TooManyFilesError
from service.inference.admission import BodyBudget
from service.settings import Settings
from service.web.multipart_form import FormLimits, MultipartForm
from service.web.route_parameters import RouteParameters
from service.web.uploads import read_form

CONTENT_TYPE = "multipart/form-data; boundary=b"
END = b"--b--\r\n"
MAX_TEXT_BYTES = 1_000_000


def takes(note: str = "", alpha: list[str] | None = None) -> None:
    """The parameters that the forms may have."""


PARAMETERS = RouteParameters(takes)


def part(disposition: str, data: bytes = b"x", *headers: str) -> bytes:
    lines = ("--b", f"Content-Disposition: form-data; {disposition}", *headers, "", "")
    return "\r\n".join(lines).encode() + data + b"\r\n"


def picture(name: str, data: bytes = b"x") -> bytes:
    return part(f'name="files"; filename="{name}"', data, "Content-Type: image/png")


def parsed(body: bytes, *, piece: int = 1 << 20, content_type: str = CONTENT_TYPE, max_files: int = 3) -> MultipartForm:
    """The form after its body has arrived in pieces of this many bytes."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), piece):
            yield body[start : start + piece]

    form = MultipartForm(content_type, "files", PARAMETERS, FormLimits(max_files, 3, MAX_TEXT_BYTES / 1e6))
    asyncio.run(form.parse(chunks()))
    return form


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_files_are_read_however_they_arrive(piece: int) -> None:
    body = picture("a.png", b"one\r\n--") + part('name="note"; filename="o"') + picture("", b"") + END
    form = parsed(body, piece=piece)
    assert form.files == [("a.png", b"one\r\n--"), ("", b"")]
    assert form.texts == [("note", "x")]
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
        (picture("a") * 4 + END, TooManyFilesError, "more than 3 files in 'files'; send them in several requests"),
        (part('name="image"; filename="y"') + END, RequestError, "unknown file field 'image'; send files in the field"),
        (part('name="nota"') + END, RequestError, "unknown parameter 'nota' in the form; did you mean 'note'?"),
        (part('name="alpha"') * 4 + END, MultipartError, "more than 3 text fields"),
        (part('name="note"', bytes(MAX_TEXT_BYTES + 1)) + END, BodyTooLargeError, "field 'note' exceeds 1 MB"),
        (part('name="note"', b"\xff") + END, RequestError, "field 'note' is not utf-8"),
        (part('filename="y"') + END, MultipartError, "a part has no name"),
        (b"hello", MultipartError, "the form cannot be read: "),
        (b"--b\r\nno header\r\n\r\n", MultipartError, "the form cannot be read: "),
    ],
    ids=["files", "another file", "another text", "texts", "long text", "no UTF-8", "no name", "no form", "no header"],
)
@pytest.mark.parametrize("piece", [5, 1 << 20])
def test_each_fault_has_its_error(body: bytes, error: type[ServiceError], message: str, piece: int) -> None:
    with pytest.raises(error, match=message):
        parsed(body, piece=max(piece, len(body) // 100))


def test_a_form_without_a_boundary_is_refused() -> None:
    with pytest.raises(MultipartError, match="its content type has no boundary"):
        MultipartForm("multipart/form-data", "files", PARAMETERS, FormLimits(3, 3, 1.0))


def test_files_up_to_the_limit_are_accepted() -> None:
    assert len(parsed(picture("a") * 3 + part('name="alpha"') * 3 + END).files) == 3


@pytest.mark.parametrize("cut", [1, 5, 8, 20, 60])
def test_a_form_that_ends_early_is_refused(cut: int) -> None:
    body = picture("a") + picture("b") + b"--b--"
    with pytest.raises(MultipartError, match="ends without its closing boundary"):
        parsed(body[:-cut])


def test_a_form_that_is_too_large_is_refused_as_such_even_without_a_boundary() -> None:
    headers = [(b"content-type", b"multipart/form-data"), (b"content-length", b"999999999")]
    request = Request({"type": "http", "method": "POST", "headers": headers})
    with pytest.raises(BodyTooLargeError):
        asyncio.run(read_form(request, Settings(), BodyBudget(256.0), PARAMETERS))


def test_a_picture_without_a_file_name_beside_one_with_it_is_named() -> None:
    body = picture("a") + part('name="files"') + END

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    headers = [(b"content-type", CONTENT_TYPE.encode())]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    with pytest.raises(MultipartError, match="a part of the form's field 'files' has no file name; send each picture"):
        asyncio.run(read_form(request, Settings(), BodyBudget(256.0), PARAMETERS))


def test_one_archive_is_one_file() -> None:
    with pytest.raises(TooManyFilesError, match="more than one file in 'files'"):
        parsed(picture("a") * 2 + END, max_files=1)
