"""A multipart form, parsed while it arrives: the files of one field, and the parameters in all others.

Starlette's form parser reports a form that is broken and a form with too many files by the same exception. They have
different error codes here, so this module uses python-multipart directly, as Starlette does.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import BodyTooLargeError, MultipartError, RequestError, TooManyFilesError
from service.web.bodies import MAX_SHOWN_LENGTH
from service.web.route_parameters import FORM, RouteParameters

__all__ = ["FormLimits", "MultipartForm", "refuse_file"]

CONTENT_DISPOSITION = b"content-disposition"


class FormLimits(NamedTuple):
    """What a form may hold.

    Attributes:
        files: maximum number of files.
        texts: maximum number of other fields.
        text_mb: maximum size of each of these, in megabytes (10^6 bytes).

    """

    files: int
    texts: int
    text_mb: float


class MultipartForm:
    """The files of one field of a form, and its parameters.

    Args:
        content_type: the request's Content-Type header.
        field: the name of the field that has files; None if the form has only parameters.
        parameters: the parameters that it may have.
        limits: how much it may hold.

    Attributes:
        files: the name, "" if it is empty, and the bytes of each file in the field.
        texts: the name and the text of each parameter, which may also come as a file.
        has_text: whether the field also came without a file name, so that it is not a file.

    Raises:
        MultipartError: the Content-Type has no boundary.

    """

    def __init__(self, content_type: str, field: str | None, parameters: RouteParameters, limits: FormLimits) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if boundary is None:
            raise MultipartError("the form cannot be read: its content type has no boundary")
        self.files: list[tuple[str, bytes]] = []
        self.texts: list[tuple[str, str]] = []
        self.has_text = False
        self._boundary = boundary
        self._charset = options.get(b"charset", b"utf-8").decode("latin-1")
        self._field = field
        self._parameters = parameters
        self._limits = limits
        self._file_count = 0
        self._text_count = 0
        self._is_complete = False
        # the part being parsed
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._part_field = ""
        self._part_file: str | None = None  # the file's name, None if the part is not a file
        self._data = bytearray()

    async def parse(self, chunks: AsyncIterator[bytes]) -> None:
        """Parse the body.

        Raises:
            MultipartError: it is not a complete multipart form, or has too many text fields.
            RequestError: it has an unknown field, or a text that is not in its charset.
            BodyTooLargeError: a text is too long.
            TooManyFilesError: it has too many files.

        """
        try:
            parser = MultipartParser(
                self._boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end_part,
                    "on_header_field": self._add_header_name,
                    "on_header_value": self._add_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_end": self._end,
                },
            )
            async for chunk in chunks:
                parser.write(chunk)
                await self._store()
            parser.finalize()
        except FormParserError as error:
            raise MultipartError(f"the form cannot be read: {error}") from error
        if not self._is_complete:
            raise MultipartError("the form is incomplete: it ends without its closing boundary")

    async def _store(self) -> None:
        """Store what has arrived; called after each chunk."""

    def _end(self) -> None:
        self._is_complete = True

    def _begin_part(self) -> None:
        self._disposition = b""
        self._data = bytearray()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == CONTENT_DISPOSITION:
            self._disposition = self._header_value
        self._header_name = b""
        self._header_value = b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise MultipartError("the form cannot be read: a part has no name in its Content-Disposition")
        self._part_field = self._decode(options[b"name"])
        self._part_file = self._decode(options[b"filename"]) if b"filename" in options else None
        if self._part_field != self._field:
            self._begin_text()
        elif self._part_file is not None:
            self._file_count += 1
            if self._file_count > self._limits.files:
                many = "one file" if self._limits.files == 1 else f"{self._limits.files} files"
                raise TooManyFilesError(f"more than {many} in {self._field!r}; send them in several requests")

    def _begin_text(self) -> None:
        if self._part_file is not None:
            refuse_file(self._part_field, self._field, self._parameters)
        self._parameters.check_name(self._part_field, FORM)
        self._text_count += 1
        if self._text_count > self._limits.texts:
            raise MultipartError(f"the form cannot be read: it has more than {self._limits.texts} text fields")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._part_field == self._field:
            self._add_file_data(data[start:end])
            return
        self._data += data[start:end]
        if len(self._data) > self._limits.text_mb * 1e6:
            raise BodyTooLargeError(f"the form's field {self._part_field!r} exceeds {self._limits.text_mb:g} MB")

    def _add_file_data(self, data: bytes) -> None:
        self._data += data

    def _end_file(self, name: str) -> None:
        self.files.append((name, bytes(self._data)))

    def _end_part(self) -> None:
        if self._part_field != self._field:
            self.texts.append((self._part_field, self._text()))
        elif self._part_file is None:
            self.has_text = True
        else:
            self._end_file(self._part_file)
        self._data = bytearray()

    def _text(self) -> str:
        try:
            return self._data.decode(self._charset)
        except UnicodeDecodeError as error:
            raise RequestError(f"the form's field {self._part_field!r} is not {self._charset}: {error}") from error

    def _decode(self, text: bytes) -> str:
        try:
            return text.decode(self._charset)
        except UnicodeDecodeError:
            return text.decode("latin-1")


def refuse_file(name: str, field: str | None, parameters: RouteParameters) -> None:
    """Check a file that came in another field than the one for files: a parameter may come as a file.

    Raises:
        RequestError: there is no parameter of that name.

    """
    if field is not None and not parameters.in_form(name):
        raise RequestError(f"unknown file field {name[:MAX_SHOWN_LENGTH]!r}; send files in the field {field!r}")
