"""A multipart form of pictures, parsed while it arrives.

Starlette's form parser reports a form that is broken and a form with too many files by the same exception. They have
different error codes here, so this module uses python-multipart directly, as Starlette does.
"""

from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import MultipartError, TooManyFilesError

__all__ = ["PictureForm"]

MAX_TEXT_BYTES = 1 << 20  # of a field that is not a file
CONTENT_DISPOSITION = b"content-disposition"


class PictureForm:
    """The files of one field of a form.

    Args:
        content_type: the request's Content-Type header.
        field: the name of the field.
        max_files: maximum number of files, over all fields, and of fields that are not files.

    Attributes:
        files: the name, "" if it is empty, and the bytes of each file in the field.
        has_text: whether the field also came without a file name, so that it is not a file.

    Raises:
        MultipartError: the Content-Type has no boundary.

    """

    def __init__(self, content_type: str, field: str, max_files: int) -> None:
        _, parameters = parse_options_header(content_type)
        boundary = parameters.get(b"boundary")
        if boundary is None:
            raise MultipartError("the form cannot be read: its content type has no boundary")
        self.files: list[tuple[str, bytes]] = []
        self.has_text = False
        self._boundary = boundary
        self._charset = parameters.get(b"charset", b"utf-8").decode("latin-1")
        self._field = field
        self._max_files = max_files
        self._file_count = 0
        self._text_count = 0
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
            MultipartError: it is not a multipart form, has too many text fields, or one that is too long.
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
                },
            )
            async for chunk in chunks:
                parser.write(chunk)
            parser.finalize()
        except FormParserError as error:
            raise MultipartError(f"the form cannot be read: {error}") from error

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
        if b"filename" in options:
            self._part_file = self._decode(options[b"filename"])
            self._file_count += 1
            if self._file_count > self._max_files:
                raise TooManyFilesError(f"more than {self._max_files} files; send them in several requests")
        else:
            self._part_file = None
            self._text_count += 1
            if self._text_count > self._max_files:
                raise MultipartError(f"the form cannot be read: it has more than {self._max_files} text fields")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]
        if self._part_file is None and len(self._data) > MAX_TEXT_BYTES:
            raise MultipartError(f"the form cannot be read: a text field exceeds {MAX_TEXT_BYTES // 1024} KB")

    def _end_part(self) -> None:
        if self._part_field == self._field:
            if self._part_file is None:
                self.has_text = True
            else:
                self.files.append((self._part_file, bytes(self._data)))
        self._data = bytearray()

    def _decode(self, text: bytes) -> str:
        try:
            return text.decode(self._charset)
        except UnicodeDecodeError:
            return text.decode("latin-1")
