"""The pictures in a request's body: one as the whole body, or several in a multipart form."""

from dataclasses import dataclass
from typing import Any

from fastapi import Request

from models.picture_headers import looks_like_a_picture
from service.errors import EmptyBodyError, MultipartError, UnsupportedMediaTypeError
from service.inference.admission import BodyBudget
from service.settings import Settings
from service.web.bodies import (
    MAX_SHOWN_LENGTH,
    body_chunks,
    check_charset,
    check_content_encoding,
    check_content_length,
    media_type_of,
    read_body,
)
from service.web.multipart_form import MultipartForm
from service.web.parameter_route import MULTIPART, form_limits
from service.web.route_parameters import FORM, RouteParameters

__all__ = ["FIELD", "Upload", "is_form", "read_form", "read_picture"]

FIELD = "files"
MAX_NAME_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture as the client sent it.

    Attributes:
        name: the file's name, None if it has none.
        data: the encoded picture.

    """

    name: str | None
    data: bytes


def is_form(request: Request) -> bool:
    """Return whether the request's body is a form."""
    return media_type_of(request) == MULTIPART


async def read_picture(request: Request, settings: Settings, body_budget: BodyBudget) -> Upload:
    """Return the picture that is the request's whole body. Its bytes decide, whatever the Content-Type says.

    Args:
        request: a request whose body has not been read yet, and is no form.
        settings: `max_body_mb` applies.
        body_budget: counts the body as memory.

    Raises:
        EmptyBodyError: the body is empty.
        UnsupportedMediaTypeError: the body is compressed, or neither its Content-Type nor its bytes are a picture's.
        BodyTooLargeError, OverloadedError, ClientDisconnectedError: see `read_body`.

    """
    body = await read_body(request, settings.max_body_mb, body_budget)
    if not body:
        raise EmptyBodyError("the body is empty; send the bytes of a JPEG, PNG or WebP picture")
    if looks_like_a_picture(body):
        return Upload(None, body)
    check_content_encoding(request)
    if not (media_type := media_type_of(request)).startswith("image/"):
        shown = f"content type {media_type[:MAX_SHOWN_LENGTH]!r}" if media_type else "no content type"
        raise UnsupportedMediaTypeError(
            f"the body, sent with {shown}, is not a picture; send one JPEG, PNG or WebP picture as the body, or one or "
            f"more as {MULTIPART} in the field {FIELD!r}"
        )
    return Upload(None, body)


async def read_form(
    request: Request, settings: Settings, body_budget: BodyBudget, parameters: RouteParameters
) -> tuple[list[Upload], dict[str, Any]]:
    """Return a form's pictures, and the values of its parameters by argument.

    Args:
        request: a request whose body has not been read yet.
        settings: the limits on bodies, files and texts apply.
        body_budget: counts the body as memory.
        parameters: the parameters that the form may have.

    Raises:
        MultipartError: the form cannot be parsed, or has no pictures.
        RequestError: a field is unknown, or a parameter repeated or invalid.
        TooManyFilesError: the form has more than `max_files` files.
        BodyTooLargeError, OverloadedError, ClientDisconnectedError: see `read_body`.

    """
    check_charset(request)
    check_content_encoding(request)
    check_content_length(request, settings.max_body_mb)
    form = MultipartForm(request.headers["content-type"], FIELD, parameters, form_limits(settings))
    await form.parse(body_chunks(request, settings.max_body_mb, body_budget))
    if form.files and form.has_text:
        raise MultipartError(f"a part of the form's field {FIELD!r} has no file name; send each picture as a file")
    if not form.files:
        raise MultipartError(f"the form has no pictures in the field {FIELD!r}; send at least one, as files")
    uploads = [Upload(name[:MAX_NAME_LENGTH] or None, data) for name, data in form.files]
    return uploads, parameters.in_texts(form.texts, FORM)
