"""Folders of bundles, NAME/VERSION: which folder holds one, and where a new one goes."""

from pathlib import Path

from models.errors import BundleExistsError
from models.manifest import NAME_PATTERN
from models.repository import is_broken_link, is_version
from training.errors import ExportError
from training.output_files import check_output_folder
from training.run.checkpoint import CHECKPOINT_NAME

__all__ = ["check_is_bundle", "is_bundle", "new_bundle_folder", "versions_in"]


def is_bundle(folder: Path) -> bool:
    """Return whether the folder contains a bundle's manifest."""
    return (folder / "manifest.json").is_file()


def versions_in(folder: Path) -> list[int]:
    """Return the versions of a model in this folder, oldest first; empty if it holds no bundles."""
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if is_version(entry.name) and is_bundle(entry))


def check_is_bundle(folder: Path) -> None:
    """Reject a training run or a folder of versions given in place of a bundle. The loader rejects everything else.

    Raises:
        ExportError: the folder is one of these; the message says which path was probably meant.

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


def new_bundle_folder(out: Path) -> Path:
    """Return the folder NAME/VERSION for a new bundle.

    Args:
        out: NAME/VERSION, returned as it is, or NAME, which gets the next free version.

    Raises:
        ExportError: the name or the version is invalid, a file or a broken link lies where a folder has to be, or the
            bundle would lie inside another model.
        TrainingError: the folder cannot be written to.
        models.errors.BundleExistsError: the folder exists already.

    """
    versioned = out.name.isascii() and out.name.isdecimal()
    if not NAME_PATTERN.fullmatch(out.parent.name if versioned else out.name):
        raise ExportError(
            f"--out {out}: a model name consists of lowercase letters, digits, '.', '_' and '-', such as cifar10-lt"
        )
    if versioned and out.name.startswith("0"):
        raise ExportError(f"--out {out}: {out.name} is not a version; versions are 1, 2, 3, ..., without leading zeros")
    if file := next((path for path in (out, *out.parents) if path.exists() and not path.is_dir()), None):
        raise ExportError(f"--out {out}: {file} is a file; a bundle is a folder NAME/VERSION, such as cifar10-lt/1")
    if link := next(filter(is_broken_link, (out, *out.parents)), None):
        raise ExportError(f"--out {out}: {link} is a link that leads nowhere; remove it, or link it to a folder")
    model = out.parent if versioned else out
    _check_outside_models(out, model)
    check_output_folder(model, "--out")
    if versioned:
        if out.exists() or out.is_symlink():
            raise BundleExistsError(f"{out} already exists; delete it, or choose another version")
        return out
    taken = [int(folder.name) for folder in out.iterdir() if folder.name.isdecimal()] if out.is_dir() else []
    return out / str(max(taken, default=0) + 1)


def _check_outside_models(out: Path, model: Path) -> None:
    """Reject a model folder inside a bundle, or beside the versions of another model."""
    if bundle := next(filter(is_bundle, (model, *model.parents)), None):
        raise ExportError(f"--out {out}: {bundle} is itself a bundle; put the new one beside it, as NAME/VERSION")
    if versions := versions_in(model.parent):
        raise ExportError(
            f"--out {out}: {model.parent} holds the versions of a model; a version is a number, such as "
            f"{model.parent / str(versions[-1] + 1)}"
        )
