"""A form with an archive, which may be larger than memory: its bytes go to a temporary file as they arrive."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

from fastapi import Request
from starlette.requests import ClientDisconnect
from typing_extensions import override

from service.errors import ClientDisconnectedError, MultipartError, OverloadedError, UploadTimeoutError
from service.settings import Settings
from service.web.bodies import check_charset, check_content_encoding, limited
from service.web.multipart_form import FormLimits, MultipartForm
from service.web.parameter_route import form_limits
from service.web.route_parameters import FORM, RouteParameters

__all__ = ["ARCHIVE_FIELD", "Archive", "closed_on_error", "read_archive_form"]

ARCHIVE_FIELD = "archive"
MAX_UPLOAD_SECONDS = 600.0
MAX_IN_MEMORY_BYTES = 1 << 20


class Archive(NamedTuple):
    """An archive as the client sent it.

    Attributes:
        name: the file's name, "" if it has none.
        file: its bytes, from the beginning; the code that takes the archive closes the file.

    """

    name: str
    file: IO[bytes]


class _ArchiveForm(MultipartForm):
    """A form whose file goes to disk if it is large."""

    def __init__(self, content_type: str, parameters: RouteParameters, limits: FormLimits) -> None:
        super().__init__(content_type, ARCHIVE_FIELD, parameters, limits)
        self.archive_name: str | None = None
        self.file: IO[bytes] = tempfile.SpooledTemporaryFile(MAX_IN_MEMORY_BYTES)  # noqa: SIM115  outlives this object
        self._pending = bytearray()
        self._stored = 0

    @override
    async def _store(self) -> None:
        if not self._pending:
            return
        data = bytes(self._pending)
        self._pending.clear()
        self._stored += len(data)
        if self._stored > MAX_IN_MEMORY_BYTES:
            await asyncio.to_thread(self.file.write, data)
        else:
            self.file.write(data)

    @override
    def _add_file_data(self, data: bytes) -> None:
        self._pending += data

    @override
    def _end_file(self, name: str) -> None:
        self.archive_name = name


async def read_archive_form(
    request: Request, settings: Settings, parameters: RouteParameters
) -> tuple[Archive | None, dict[str, Any]]:
    """Return a form's archive, if it has one, and the values of its parameters by argument.

    Args:
        request: a request whose body has not been read yet.
        settings: `max_archive_mb` and the limits on texts apply.
        parameters: the parameters that the form may have.

    Raises:
        MultipartError: the form cannot be parsed, is empty, or its archive is not a file.
        RequestError: a field is unknown, or a parameter repeated or invalid.
        TooManyFilesError: the form has several archives.
        BodyTooLargeError: the form, or a text, is too large.
        UploadTimeoutError: the form took too long to arrive.
        OverloadedError: the disk is full.
        ClientDisconnectedError: the client disconnected before the form was complete.

    """
    check_charset(request)
    check_content_encoding(request)
    form = _ArchiveForm(request.headers["content-type"], parameters, form_limits(settings)._replace(files=1))
    with closed_on_error(Archive("", form.file)):
        try:
            async with asyncio.timeout(MAX_UPLOAD_SECONDS):
                await form.parse(limited(request, settings.max_archive_mb).stream())
        except TimeoutError as error:
            raise UploadTimeoutError(
                f"the archive took more than {MAX_UPLOAD_SECONDS:g} s to arrive; send a smaller one"
            ) from error
        except OSError as error:
            raise OverloadedError(
                f"the archive cannot be written to disk: {error.strerror}; try again later"
            ) from error
        except ClientDisconnect as error:
            raise ClientDisconnectedError("the client disconnected while it was sending") from error
        if form.has_text or (form.archive_name is None and not form.texts):
            raise MultipartError(
                f"the form has no file in the field {ARCHIVE_FIELD!r}; send a zip file of class folders there"
            )
        values = parameters.in_texts(form.texts, FORM)
        form.file.seek(0)
    if form.archive_name is None:
        form.file.close()
        return None, values
    return Archive(form.archive_name, form.file), values


@contextmanager
def closed_on_error(archive: Archive | None) -> Iterator[None]:
    """Close the archive's file if the block fails; otherwise the job that takes the archive closes it."""
    try:
        yield
    except BaseException:
        if archive is not None:
            archive.file.close()
        raise
