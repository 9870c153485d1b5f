"""Files a command writes for its user: checked before the work, written when all of it has succeeded."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from training.errors import TrainingError

__all__ = ["check_output_file", "check_output_folder", "write_together"]


def check_output_file(file: Path | None) -> None:
    """Refuse a file that could not be written, by trying.

    Raises:
        TrainingError: its folder is not there or takes no file of this name, or it is a folder itself.

    """
    if file is None:
        return
    if not file.parent.is_dir():
        raise TrainingError(f"{file}: the folder {file.parent} does not exist; make it first")
    try:
        if file.is_dir():
            raise TrainingError(f"{file} is a folder; give the name of a file")
        if _is_plain(file):
            part = _part(file)
            is_new = not part.exists()
            part.open("ab").close()
            if is_new:
                part.unlink()
            return
    except OSError as error:
        raise TrainingError(f"{file}: no file can be written there ({error.strerror}); name another place") from error
    if not os.access(file, os.W_OK):
        raise TrainingError(f"{file}: it cannot be written to; name another place")


def check_output_folder(folder: Path, argument: str) -> None:
    """Refuse a folder that is not there and could not be made, or that takes no files.

    Args:
        folder: what the user named; it need not exist.
        argument: such as `--out`, for the sentence.

    Raises:
        TrainingError: it lies at or below a file, or nothing can be written there.

    """
    try:
        there = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
        if not there.is_dir():
            raise TrainingError(f"{argument} {folder}: {there} is no folder; name one, or a place for a new one")
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise TrainingError(
            f"{argument} {folder}: nothing can be written there ({error.strerror}); name another place"
        ) from error


@contextmanager
def write_together(contents: Mapping[Path, bytes]) -> Iterator[None]:
    """Put the files in place when the block ends well; when it does not, none of them, and what was there stays.

    Something that is no plain file, such as /dev/stdout, is written to at the end.
    """
    plain = list(filter(_is_plain, contents))
    parts: dict[Path, Path] = {}
    try:
        for file in plain:
            parts[file] = _part(file)
            parts[file].write_bytes(contents[file])
        yield
        for file, part in parts.items():
            part.replace(file)
        for file in contents.keys() - set(plain):
            file.write_bytes(contents[file])
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _is_plain(file: Path) -> bool:
    """Say whether a file is replaced as a whole: it is a plain one, or not there yet."""
    return not file.is_symlink() and (file.is_file() or not file.exists())


def _part(file: Path) -> Path:
    return file.with_name(f"{file.name}.part")
