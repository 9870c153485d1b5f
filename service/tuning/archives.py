"""Labelled pictures in an uploaded zip file, as CLASS/IMAGE or deeper. The archive is never unpacked to disk.

The size of the table of contents is checked before it is parsed, and the pictures are read one by one, up to a limit.
So a hostile archive costs a bounded amount of memory: the sizes it declares are not trusted, and too large contents are
cut off.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from models.choosing_paths import pictures_to_choose_on
from models.errors import ArchiveNamesError, LabelledPathsError, UnreadableImageError
from models.labelled_paths import class_folder, is_hidden, is_picture, is_zip_link
from models.zip_names import zip_names
from service.errors import ArchiveError, TooManyFilesError

__all__ = ["LabelledArchive", "open_archive"]

MAX_RATIO = 100  # of unpacked to packed bytes; pictures are compressed already, so theirs is near 1
MAX_NAME_LENGTH = 255
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may need any amount of memory
_END = b"PK\x05\x06"
_END_64 = b"PK\x06\x06"
_LOCATOR_64 = b"PK\x06\x07"
_END_BYTES = 22
_LOCATOR_BYTES = 20
_RECORD_BYTES = 56
_COMMENT_BYTES = 65535
_BYTES_PER_ENTRY = 46 + 3 * 256  # a header, and long names; an even longer name uses the share of other entries


@dataclass(frozen=True, slots=True)
class LabelledArchive:
    """The pictures of a zip file with their classes, not read yet.

    Attributes:
        entries: N entries of the archive, in its order.
        names: their paths inside the archive, each shortened to MAX_NAME_LENGTH.
        labels: N class indices.
        max_image_bytes: the size of the largest picture that is read.
        zip: the open archive; several threads may read from it.
        note: which pictures of the archive these are, and what is left out.

    """

    entries: tuple[zipfile.ZipInfo, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...]
    max_image_bytes: int
    zip: zipfile.ZipFile
    note: str

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.entries)

    def name(self, index: int) -> str:
        """Return the path of one picture inside the archive, shortened to MAX_NAME_LENGTH."""
        return self.names[index]

    def read(self, index: int) -> bytes:
        """Return the bytes of one picture.

        Raises:
            UnreadableImageError: the entry is damaged, encrypted, too large, or packed by another method.

        """
        entry = self.entries[index]
        if entry.compress_type not in _METHODS:
            raise UnreadableImageError("cannot be unpacked: its compression method is other than store and deflate")
        try:
            with self.zip.open(entry) as file:
                data = file.read(self.max_image_bytes + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, OverflowError, ValueError, RuntimeError) as error:
            raise UnreadableImageError(f"cannot be unpacked: {error}"[:300]) from error
        if len(data) > self.max_image_bytes:
            raise UnreadableImageError(f"is larger than {self.max_image_bytes / 1e6:g} MB")
        return data


def open_archive(
    file: IO[bytes],
    class_indices: Mapping[str, int],
    *,
    max_files: int,
    max_image_bytes: int,
    encoding: str | None = None,
) -> LabelledArchive:
    """Return the pictures of a zip file with their classes.

    Args:
        file: the seekable zip file.
        class_indices: class name -> index.
        max_files: the most entries of any kind.
        max_image_bytes: the size of the largest picture that may be read.
        encoding: of file names that the archive does not say to be UTF-8; None takes UTF-8 and refuses other names.

    Raises:
        ArchiveError: the file is not a zip file; a file name is not in that encoding; an entry is a link, or has a path
            outside of the archive or an implausible compression ratio; or see
            `models.choosing_paths.pictures_to_choose_on`.
        TooManyFilesError: there are more entries than allowed.

    """
    _check_contents_size(file, max_files)
    try:
        archive = zipfile.ZipFile(file)
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        EOFError,
        struct.error,
        NotImplementedError,
        OverflowError,
    ) as error:
        raise ArchiveError(f"the archive is not a readable zip: {error}"[:300]) from error
    try:
        names = zip_names(archive, encoding)
    except ArchiveNamesError as error:
        raise ArchiveError(f"{error}; send the encoding in a form field `encoding`") from error
    entries = [(entry, name) for entry, name in zip(archive.infolist(), names, strict=True) if not name.endswith("/")]
    if len(entries) > max_files:
        raise _too_many(max_files)
    by_path = _by_path(entries)
    try:
        found = pictures_to_choose_on(by_path, class_indices.keys(), "the archive")
    except LabelledPathsError as error:
        raise ArchiveError(str(error)) from error
    chosen_entries = tuple(by_path[path][0] for path in found.pictures)
    chosen_names = tuple(by_path[path][1][:MAX_NAME_LENGTH] for path in found.pictures)
    labels = tuple(class_indices[class_folder(path)] for path in found.pictures)
    if sum(entry.compress_size for entry in chosen_entries) > file.seek(0, 2):
        raise ArchiveError(
            "the archive's pictures are larger than the archive, so several share their bytes; pack the archive again"
        )
    return LabelledArchive(
        chosen_entries, chosen_names, labels, max_image_bytes, archive, found.described("the archive")
    )


def _by_path(entries: Iterable[tuple[zipfile.ZipInfo, str]]) -> dict[PurePosixPath, tuple[zipfile.ZipInfo, str]]:
    """Return the entries and their names by their paths; refuse paths and pictures that no honest archive has."""
    by_path: dict[PurePosixPath, tuple[zipfile.ZipInfo, str]] = {}
    for entry, whole_name in entries:
        path = PurePosixPath(whole_name.replace("\\", "/"))
        name = whole_name[:MAX_NAME_LENGTH]
        if path.is_absolute() or ".." in path.parts:
            raise ArchiveError(f"the path {name!r} leads out of the archive; use paths inside of it")
        if is_zip_link(entry) and not is_hidden(path):
            raise ArchiveError(f"{name}: a link, which is not followed in an archive; pack the files themselves")
        if is_picture(path):
            if entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
                raise ArchiveError(f"{name}: unpacks to more than {MAX_RATIO} times its size, as no picture does")
            if path in by_path:
                raise ArchiveError(f"{name}: two files in the archive have this name")
        by_path[path] = entry, whole_name
    return by_path


def _check_contents_size(file: IO[bytes], max_files: int) -> None:
    """Refuse a table of contents that is too long for the allowed entries; the zip module would read it whole.

    Raises:
        ArchiveError: there is no table of contents.
        TooManyFilesError: the table is too long.

    """
    size = file.seek(0, 2)
    start = max(0, size - _END_BYTES - _COMMENT_BYTES - _LOCATOR_BYTES)
    file.seek(start)
    tail = file.read()
    end = tail.rfind(_END)
    if end < 0 or len(tail) - end < _END_BYTES:
        raise ArchiveError("the archive is not a readable zip: it has no table of contents; send a zip file")
    entries, contents = struct.unpack_from("<HL", tail, end + 10)
    locator = end - _LOCATOR_BYTES
    if locator >= 0 and tail[locator : locator + 4] == _LOCATOR_64:
        announced = struct.unpack_from("<Q", tail, locator + 8)[0]
        for position in (announced, start + locator - _RECORD_BYTES):  # readers differ on where they look for it
            file.seek(min(max(position, 0), size))
            record = file.read(_RECORD_BYTES)
            if len(record) == _RECORD_BYTES and record[:4] == _END_64:
                more_entries, more_contents = struct.unpack_from("<QQ", record, 32)
                entries = max(entries % 0xFFFF, more_entries)
                contents = max(contents % 0xFFFFFFFF, more_contents)
    file.seek(0)
    if entries > max_files or contents > max_files * _BYTES_PER_ENTRY:
        raise _too_many(max_files)


def _too_many(max_files: int) -> TooManyFilesError:
    return TooManyFilesError(f"the archive has more than {max_files} files; a few per class are enough")
