"""Which folder is a bundle, NAME/VERSION, and what a folder is that was given in the place of one."""

from pathlib import Path

from models.bundle import is_version
from training.errors import ExportError
from training.run.checkpoint import CHECKPOINT_NAME

__all__ = ["check_is_bundle", "is_bundle", "versions_in"]


def is_bundle(folder: Path) -> bool:
    """Say whether there is a bundle's manifest in the folder."""
    return (folder / "manifest.json").is_file()


def versions_in(folder: Path) -> list[int]:
    """Return the versions of a model that lie in the folder, the newest last; none where it holds no bundles."""
    if not folder.is_dir():
        return []
    return sorted(int(each.name) for each in folder.iterdir() if is_version(each.name) and is_bundle(each))


def check_is_bundle(folder: Path) -> None:
    """Refuse a run, or the folder of a model's versions, where a bundle is wanted; the loader refuses all else.

    Raises:
        ExportError: it is one of these; the message says what was meant.

    """
    if is_bundle(folder):
        return
    if (folder / CHECKPOINT_NAME).is_file():
        raise ExportError(
            f"{folder} is a run, not a bundle; export it first: python -m training export {folder} --out NAME"
        )
    if versions := versions_in(folder):
        listed = ", ".join(map(str, versions))
        raise ExportError(
            f"{folder} holds version{'s' * (len(versions) > 1)} {listed}; did you mean {folder / str(versions[-1])}?"
        )
