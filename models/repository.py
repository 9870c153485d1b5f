"""The folder that holds bundles as NAME/VERSION: which there are, and what a link in it means.

NAME and VERSION may be links. A bundle is judged by the names under which it lies, and its files lie in the folder that
the links lead to. So a deployment can keep its bundles in a store and switch a link from one to another.
"""

import os
from pathlib import Path

from models.errors import BundleMissingFileError, BundlePathError
from models.manifest import NAME_PATTERN
from models.sentences import first_few

__all__ = [
    "MANIFEST",
    "bundle_name",
    "bundle_path",
    "check_repository",
    "find_bundles",
    "is_broken_link",
    "is_version",
    "real_folder",
]

MANIFEST = "manifest.json"
MAX_LEVELS = 3  # below the folder given, that bundles are looked for
MAX_LOOKED_INTO = 1000  # folders
MAX_SHOWN = 3


def bundle_path(path: Path | str) -> Path:
    """Return the absolute path ROOT/NAME/VERSION under which a bundle lies. NAME and VERSION may be links, ROOT is not.

    If "up" is one of the last two parts, links are followed first: only then is it known what they are.
    """
    whole = Path(path).absolute()
    if ".." in whole.parts[-2:]:
        whole = real_folder(whole)
    return real_folder(whole.parent.parent) / whole.parent.name / whole.name


def bundle_name(path: Path) -> str:
    """Return NAME/VERSION, for messages."""
    return f"bundle {path.parent.name}/{path.name}"


def real_folder(path: Path) -> Path:
    """Return the path with all links followed; links in a circle stay as they are, and do not count as a folder."""
    return Path(os.path.realpath(path))  # Path.resolve raises for a circle, before Python 3.13


def is_broken_link(path: Path) -> bool:
    """Return whether the path is a link that leads nowhere, or in a circle."""
    return path.is_symlink() and not path.exists()


def find_bundles(root: Path) -> list[Path]:
    """Return the folders NAME/VERSION in a folder, by name, then version, without hidden folders and plain files.

    Both may be links; a version that is a broken link is returned, too, so that it is missed when it is loaded.

    Raises:
        BundleMissingFileError: the folder does not exist.
        BundlePathError: a folder in it is not NAME, or one in NAME is not a version.

    """
    check_repository(root)
    found = []
    for model in _folders(root):
        if is_broken_link(model):
            raise BundlePathError(f"{model} is a link that leads nowhere; remove it, or link it to a model's folder")
        versions = _folders(model)
        strangers = [folder.name for folder in versions if not is_version(folder.name)]
        if not NAME_PATTERN.fullmatch(model.name) or strangers or not versions:
            wrong = (
                f"{strangers[0]!r} is not a version" if strangers else f"{model.name!r} is not a model with versions"
            )
            raise BundlePathError(f"{model}: {wrong}; bundles lie as NAME/VERSION, a version is 1, 2, 3, ...")
        found += sorted(versions, key=lambda folder: int(folder.name))
    return found


def check_repository(root: Path) -> None:
    """Check that a folder can hold bundles as NAME/VERSION. It may be empty.

    Raises:
        BundleMissingFileError: the folder does not exist.
        BundlePathError: it is a file, a bundle or a model's folder, or bundles lie deeper in it only; the message names
            the folder to give.

    """
    if root.exists() and not root.is_dir():
        raise BundlePathError(f"{root} is a file; give a folder that holds bundles as NAME/VERSION, unpacked")
    if not root.is_dir():
        raise BundleMissingFileError(f"there is no folder {root}; give one that holds bundles as NAME/VERSION")
    if (root / MANIFEST).exists():
        path = bundle_path(root)
        raise BundlePathError(f"{root} is a bundle itself; give the folder two levels up, {path.parent.parent}")
    children = _folders_within_reach(root)
    if any(is_version(folder.name) for child in children for folder in _folders_within_reach(child)):
        return
    if versions := [child for child in children if is_version(child.name) and (child / MANIFEST).exists()]:
        raise BundlePathError(
            f"{root} is the folder of one model, with versions such as {versions[0].name}; give the folder one level "
            f"up, {bundle_path(versions[0]).parent.parent}"
        )
    if deeper := _repositories_below(children):
        raise BundlePathError(
            f"{root} holds no bundle as NAME/VERSION, but folders in it do; give one of them: "
            f"{first_few(map(str, deeper), MAX_SHOWN)}"
        )


def _repositories_below(folders: list[Path]) -> list[Path]:
    """Return the folders that hold NAME/VERSION/manifest.json, those of the first level that has any."""
    looked_into = 0
    for _ in range(MAX_LEVELS):
        found: list[Path] = []
        deeper = []
        for folder in folders:
            looked_into += 1
            if looked_into > MAX_LOOKED_INTO:
                return found
            children = _folders_within_reach(folder)
            deeper += children
            bundles = (child / name / MANIFEST for child in children for name in _versions_in(child))
            found += [folder] if any(map(_exists, bundles)) else []
        if found:
            return found
        folders = deeper
    return []


def _versions_in(folder: Path) -> list[str]:
    return [child.name for child in _folders_within_reach(folder) if is_version(child.name)]


def is_version(name: str) -> bool:
    """Return whether a folder of this name may hold a version of a model."""
    return name.isascii() and name.isdigit() and not name.startswith("0")


def _folders_within_reach(parent: Path) -> list[Path]:
    """Return the folders in a folder; none if it cannot be listed."""
    try:
        return [folder for folder in _folders(parent) if not is_broken_link(folder)]
    except OSError:
        return []


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _folders(parent: Path) -> list[Path]:
    entries = (entry for entry in parent.iterdir() if not entry.name.startswith("."))
    return sorted(entry for entry in entries if entry.is_dir() or is_broken_link(entry))
