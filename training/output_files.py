"""The files that a command writes: checked before its work, written together after it succeeded."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from training.errors import TrainingError

__all__ = ["check_output_file", "check_output_folder", "write_together"]


def check_output_file(file: Path | None) -> None:
    """Check that a file can be written, by creating and removing a temporary one beside it.

    Raises:
        TrainingError: the path is a folder, its folder does not exist, or the file cannot be written.

    """
    if file is None:
        return
    if not file.parent.is_dir():
        raise TrainingError(f"{file}: the folder {file.parent} does not exist; create it first")
    try:
        if file.is_dir():
            raise TrainingError(f"{file}: this is a folder; name a file")
        if _is_regular(file):
            part = _part(file)
            is_new = not part.exists()
            part.open("ab").close()
            if is_new:
                part.unlink()
            return
    except OSError as error:
        raise TrainingError(f"{file}: cannot be written ({error.strerror}); name another file") from error
    if not os.access(file, os.W_OK):
        raise TrainingError(f"{file}: cannot be written; name another file")


def check_output_folder(folder: Path, argument: str) -> None:
    """Check that a folder exists or can be created, and that files can be written there.

    Args:
        folder: the folder that the user named.
        argument: that named it, such as `--out`, for the message.

    Raises:
        TrainingError: the path is a file or is below one, or nothing can be written there.

    """
    try:
        existing = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
        if not existing.is_dir():
            raise TrainingError(
                f"{argument} {folder}: {existing} is not a folder; name a folder, or the path of a new one"
            )
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise TrainingError(
            f"{argument} {folder}: cannot be written to ({error.strerror}); name another folder"
        ) from error


@contextmanager
def write_together(contents: Mapping[Path, bytes]) -> Iterator[None]:
    """Write files when the block succeeds; if it raises, write none and leave existing files unchanged.

    Anything other than a regular file, such as /dev/stdout, is written to last.
    """
    regular = list(filter(_is_regular, contents))
    parts: dict[Path, Path] = {}
    try:
        for file in regular:
            parts[file] = _part(file)
            parts[file].write_bytes(contents[file])
        yield
        for file, part in parts.items():
            part.replace(file)
        for file in contents.keys() - set(regular):
            file.write_bytes(contents[file])
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _is_regular(file: Path) -> bool:
    """Return whether a path is a regular file or does not exist yet; such a file is replaced as a whole."""
    return not file.is_symlink() and (file.is_file() or not file.exists())


def _part(file: Path) -> Path:
    return file.with_name(f"{file.name}.part")
