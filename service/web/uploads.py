"""Pictures out of a request's body: one raw picture, or a multipart form with `files`; never more than the limits."""

from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service.errors import (
    ClientDisconnectedError,
    EmptyBodyError,
    MultipartError,
    TooManyFilesError,
    UnsupportedMediaTypeError,
)
from service.settings import Settings
from service.web.bodies import check_charset, limited, media_type_of, read_body

__all__ = ["IMAGE_TYPES", "Upload", "read_uploads"]

IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp")
MULTIPART = "multipart/form-data"
FIELD = "files"
MAX_NAME_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Upload:
    """One picture as it came: its file's name, None where it has none, and its bytes."""

    name: str | None
    data: bytes


async def read_uploads(request: Request, settings: Settings) -> tuple[list[Upload], bool]:
    """Return the request's pictures, and whether they came as a form (where each may fail alone).

    Raises:
        BodyTooLargeError, EmptyBodyError, MultipartError, TooManyFilesError, UnsupportedMediaTypeError.

    """
    media_type = media_type_of(request)
    if media_type in IMAGE_TYPES:
        body = await read_body(request, settings.max_body_mb)
        if not body:
            raise EmptyBodyError("the body is empty; send the bytes of a JPEG, PNG or WebP picture")
        return [Upload(None, body)], False
    if media_type == MULTIPART:
        check_charset(request)
        return await _read_form(limited(request, settings.max_body_mb), settings), True
    raise UnsupportedMediaTypeError(
        f"content type {media_type[:64]!r} is not supported; send one picture as {', '.join(IMAGE_TYPES)}, "
        f"or one or more as {MULTIPART} in the field {FIELD!r}"
    )


async def _read_form(request: Request, settings: Settings) -> list[Upload]:
    try:
        form = await request.form(max_files=settings.max_files, max_fields=settings.max_files)
    except ClientDisconnect as error:
        raise ClientDisconnectedError("the client hung up while it was sending") from error
    except HTTPException as error:  # Starlette's word for a form it cannot parse
        if "Too many files" in str(error.detail):
            raise TooManyFilesError(f"more than {settings.max_files} files; send them in several requests") from error
        raise MultipartError(f"the form cannot be read: {error.detail}") from error
    try:
        parts = form.getlist(FIELD)
        files = [part for part in parts if isinstance(part, UploadFile)]
        if not files or len(files) < len(parts):
            raise MultipartError(f"the form has no pictures in the field {FIELD!r}; send at least one, as files")
        return [Upload((file.filename or "")[:MAX_NAME_LENGTH] or None, await file.read()) for file in files]
    finally:
        await form.close()
