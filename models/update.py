"""Change a bundle's manifest, such as its operating points, while servers read it.

manifest.json holds the checksum of every other file, so a bundle is valid or refused as a whole, and one whose files
are replaced one after another would be refused in between. The revised bundle is therefore written beside the old one,
verified with the loader, and exchanged with it atomically. A reader finds the old bundle or the new one, even after a
killed process or a power cut. The network itself is never changed: that needs a new version.
"""

import dataclasses
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from models.bundle import CARD, GRAPH, HEAD, Bundle, load_bundle
from models.durable_files import exchange, sync_folder, write_file
from models.errors import BundlePathError, BundleUpdateError
from models.manifest import Manifest
from models.repository import MANIFEST, bundle_name, bundle_path, real_folder

__all__ = ["Revision", "check_updatable", "update_bundle"]

_SCRATCH = ".updating-"


@dataclass(frozen=True, slots=True)
class Revision:
    """The changes to a bundle.

    Args:
        manifest: the new manifest; its `sha256` is filled in, its name and version must be those of the folder.
        readme: the new model card; None keeps the present one.
        extra_files: plain file name -> content, added or replaced; all other files stay.

    """

    manifest: Manifest
    readme: str | None = None
    extra_files: Mapping[str, bytes] = field(default_factory=dict)


def update_bundle(path: Path | str, revise: Callable[[Bundle], Revision]) -> Bundle:
    """Replace the bundle's manifest, and if asked its card and other files: verified and complete, or not at all.

    If NAME or VERSION is a link, the folder that it leads to is exchanged, and the link stays: `place` of the result
    names both.

    Args:
        path: the folder NAME/VERSION.
        revise: gets the present bundle, returns its revision. Updates of one model wait for one another, so it sees
            what another process has just saved. If it raises, nothing is changed.

    Returns:
        The revised bundle.

    Raises:
        BundleError: the bundle or its revision is not valid, or the folder cannot be replaced.

    """
    path = bundle_path(path)
    folder = real_folder(path)
    with _exclusive_lock(path, folder):
        bundle = load_bundle(path)
        if bundle.folder != folder:
            raise BundleUpdateError(f"{bundle_name(path)}: the link was changed while it was read; start again")
        check_updatable(path)
        revision = revise(bundle)
        _check_names(revision)
        for left_behind in folder.parent.glob(f"{_SCRATCH}*"):  # by a process that was killed
            shutil.rmtree(left_behind, ignore_errors=True)
        try:
            with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder.parent, ignore_cleanup_errors=True) as scratch:
                staged = Path(scratch, path.parent.name, path.name)
                _stage(staged, bundle, revision)
                revised = load_bundle(staged)
                exchange(staged, folder)
        except OSError as error:
            raise BundleUpdateError(f"{bundle_name(path)}: could not be replaced: {error}") from error
        sync_folder(folder.parent)
    return dataclasses.replace(revised, path=path, folder=folder)


def check_updatable(path: Path | str) -> None:
    """Check early that `update_bundle` can write.

    Raises:
        BundleUpdateError: the bundle's folder or the one around it is read-only, or its files are links.

    """
    path = bundle_path(path)
    folder = real_folder(path)
    for needed in (folder, folder.parent):
        if needed.is_dir() and not os.access(needed, os.W_OK | os.X_OK):
            raise BundleUpdateError(
                f"{bundle_name(path)}: the folder {needed} cannot be written; copy the bundle or change permissions"
            )
    if linked := sorted(file.name for file in folder.glob("[!.]*") if file.is_symlink()):
        raise BundleUpdateError(
            f"{bundle_name(path)}: {linked[0]} is a link, to {(folder / linked[0]).readlink()}; change the bundle "
            "where its files come from, or copy it"
        )


def _check_names(revision: Revision) -> None:
    if clash := sorted({MANIFEST, GRAPH, HEAD, CARD} & revision.extra_files.keys()):
        raise BundlePathError(f"extra file {clash[0]} would replace the bundle's own")


def _stage(staged: Path, bundle: Bundle, revision: Revision) -> None:
    """Write the revised bundle: the changes, and everything else unchanged, permissions included."""
    files = dict(revision.extra_files)
    if revision.readme is not None:
        files[CARD] = revision.readme.encode()
    checksums = bundle.manifest.sha256 | {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = dataclasses.replace(revision.manifest, sha256=dict(sorted(checksums.items())))
    staged.mkdir(parents=True)
    for name in checksums:
        write_file(staged / name, files[name] if name in files else (bundle.folder / name).read_bytes())
    write_file(staged / MANIFEST, manifest.to_json().encode())
    for hidden in bundle.folder.glob(".*"):  # not part of the bundle, but kept
        if hidden.is_dir() and not hidden.is_symlink():
            shutil.copytree(hidden, staged / hidden.name, symlinks=True)
        else:
            shutil.copy2(hidden, staged / hidden.name, follow_symlinks=False)
    for name in (*checksums, MANIFEST):
        old = bundle.folder / name
        _copy_owner_and_mode(staged / name, old if old.exists() else bundle.folder / MANIFEST)
    _copy_owner_and_mode(staged, bundle.folder)
    sync_folder(staged)


def _copy_owner_and_mode(new: Path, old: Path) -> None:
    """Give a file or folder the owner, group and permissions of the one it replaces."""
    found = old.stat()
    os.chown(new, found.st_uid, found.st_gid)
    new.chmod(stat.S_IMODE(found.st_mode))


@contextmanager
def _exclusive_lock(path: Path, folder: Path) -> Iterator[None]:
    """Wait until no other process updates a version of this model; the lock is released if its process dies."""
    try:
        descriptor = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise BundleUpdateError(f"{bundle_name(path)}: cannot be opened: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
