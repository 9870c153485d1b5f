"""Files a command writes for its user: checked before the work, written when all of it has succeeded."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from training.errors import TrainingError

__all__ = ["check_place", "written_together"]


def check_place(file: Path | None) -> None:
    """Refuse a file that could not be written.

    Raises:
        TrainingError: its folder is not there, or it is a folder itself.
    """
    if file is not None and not file.parent.is_dir():
        raise TrainingError(f"{file}: the folder {file.parent} does not exist; make it first")
    if file is not None and file.is_dir():
        raise TrainingError(f"{file} is a folder; give the name of a file")


@contextmanager
def written_together(contents: Mapping[Path, bytes]) -> Iterator[None]:
    """Put the files in place when the block ends well; when it does not, none of them, and what was there stays.

    Something that is no plain file, such as /dev/stdout, is written to at the end.
    """
    plain = [file for file in contents if not file.is_symlink() and (file.is_file() or not file.exists())]
    parts: dict[Path, Path] = {}
    try:
        for file in plain:
            parts[file] = file.with_name(f"{file.name}.part")
            parts[file].write_bytes(contents[file])
        yield
        for file, part in parts.items():
            part.replace(file)
        for file in contents.keys() - set(plain):
            file.write_bytes(contents[file])
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
