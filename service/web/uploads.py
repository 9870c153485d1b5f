"""The pictures in a request's body: one as the whole body, or several in a multipart form."""

from dataclasses import dataclass

from fastapi import Request

from service.errors import EmptyBodyError, MultipartError, UnsupportedMediaTypeError
from service.inference.admission import BodyBudget
from service.settings import Settings
from service.web.bodies import (
    MAX_SHOWN_LENGTH,
    body_chunks,
    check_charset,
    check_content_length,
    media_type_of,
    read_body,
)
from service.web.picture_form import PictureForm

__all__ = ["FIELD", "IMAGE_TYPES", "MULTIPART", "Upload", "read_uploads"]

IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp")
MULTIPART = "multipart/form-data"
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


async def read_uploads(request: Request, settings: Settings, body_budget: BodyBudget) -> tuple[list[Upload], bool]:
    """Return the request's pictures, and whether they came in a form, where each may fail alone.

    Args:
        request: a request whose body has not been read yet.
        settings: `max_body_mb` and `max_files` apply.
        body_budget: counts the body as memory.

    Raises:
        UnsupportedMediaTypeError: the body is neither a picture nor a form.
        EmptyBodyError: the body is empty.
        MultipartError: the form cannot be parsed, or has no pictures.
        TooManyFilesError: the form has more than `max_files` files.
        BodyTooLargeError, OverloadedError, ClientDisconnectedError: see `read_body`.

    """
    media_type = media_type_of(request)
    if media_type in IMAGE_TYPES:
        body = await read_body(request, settings.max_body_mb, body_budget)
        if not body:
            raise EmptyBodyError("the body is empty; send the bytes of a JPEG, PNG or WebP picture")
        return [Upload(None, body)], False
    if media_type == MULTIPART:
        return await _read_form(request, settings, body_budget), True
    raise UnsupportedMediaTypeError(
        f"content type {media_type[:MAX_SHOWN_LENGTH]!r} is not supported; send one picture as "
        f"{', '.join(IMAGE_TYPES)}, or one or more as {MULTIPART} in the field {FIELD!r}"
    )


async def _read_form(request: Request, settings: Settings, body_budget: BodyBudget) -> list[Upload]:
    check_charset(request)
    check_content_length(request, settings.max_body_mb)
    form = PictureForm(request.headers["content-type"], FIELD, settings.max_files)
    await form.parse(body_chunks(request, settings.max_body_mb, body_budget))
    if not form.files or form.has_text:
        raise MultipartError(f"the form has no pictures in the field {FIELD!r}; send at least one, as files")
    return [Upload(name[:MAX_NAME_LENGTH] or None, data) for name, data in form.files]
