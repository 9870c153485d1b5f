"""Change what a bundle says about itself, such as its operating points, while servers read it.

manifest.json holds the checksum of every other file, so a bundle is right or refused as a whole; files replaced one
after another would be refused in between. The revised bundle is therefore written beside the old one, verified with the
loader, and the two folders change places in one step. A reader finds the old bundle or the new one, so does whoever
comes after a kill or a power cut. The network itself is never changed: that is another version.
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

from models.bundle import CARD, GRAPH, HEAD, MANIFEST, Bundle, load_bundle
from models.durable_files import exchange, sync_folder, write_file
from models.errors import BundlePathError, BundleUpdateError
from models.manifest import Manifest

__all__ = ["Revision", "check_updatable", "update_bundle"]

_SCRATCH = ".updating-"


@dataclass(frozen=True, slots=True)
class Revision:
    """What is to be different.

    Args:
        manifest: the new one; its `sha256` is filled in, its name and version must be the folder's.
        readme: the new model card; None leaves it.
        extra_files: plain file name -> content, new or replaced; further files stay.

    """

    manifest: Manifest
    readme: str | None = None
    extra_files: Mapping[str, bytes] = field(default_factory=dict)


def update_bundle(path: Path | str, revise: Callable[[Bundle], Revision]) -> Bundle:
    """Replace the bundle's manifest, and its card and further files where asked: all of it, verified, or nothing.

    Args:
        path: the folder NAME/VERSION.
        revise: given the bundle as it is now, returns what it shall be. Updates of one model wait for one another, so
            what another process saved a moment ago is in what it is given. Whatever it raises leaves all as it was.

    Returns:
        The bundle that lies there now.

    Raises:
        BundleError: the bundle is refused, its revision would be, or it cannot be replaced where it lies.

    """
    folder = Path(path).resolve()
    with _alone(folder):
        bundle = load_bundle(folder)
        check_updatable(folder)
        revision = revise(bundle)
        _check_names(revision)
        for left_behind in folder.parent.glob(f"{_SCRATCH}*"):  # by a process that was killed
            shutil.rmtree(left_behind, ignore_errors=True)
        try:
            with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder.parent, ignore_cleanup_errors=True) as scratch:
                staged = Path(scratch, folder.parent.name, folder.name)
                _stage(staged, bundle, revision)
                revised = load_bundle(staged)
                exchange(staged, folder)
        except OSError as error:
            raise BundleUpdateError(f"{_called(folder)}: could not be replaced: {error}") from error
        sync_folder(folder.parent)
    return dataclasses.replace(revised, path=folder)


def check_updatable(path: Path | str) -> None:
    """Refuse early what `update_bundle` could not write.

    Raises:
        BundleUpdateError: the bundle's folder or the one around it is read-only.

    """
    folder = Path(path).resolve()
    for needed in (folder, folder.parent):
        if needed.is_dir() and not os.access(needed, os.W_OK | os.X_OK):
            raise BundleUpdateError(
                f"{_called(folder)}: the folder {needed} cannot be written; copy the bundle, or change who may write"
            )


def _check_names(revision: Revision) -> None:
    if clash := sorted({MANIFEST, GRAPH, HEAD, CARD} & revision.extra_files.keys()):
        raise BundlePathError(f"extra file {clash[0]} would replace the bundle's own")


def _stage(staged: Path, bundle: Bundle, revision: Revision) -> None:
    """Write the revised bundle: what is different, and all else as it is, who may read it included."""
    files = dict(revision.extra_files)
    if revision.readme is not None:
        files[CARD] = revision.readme.encode()
    checksums = bundle.manifest.sha256 | {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = dataclasses.replace(revision.manifest, sha256=dict(sorted(checksums.items())))
    staged.mkdir(parents=True)
    for name in checksums:
        write_file(staged / name, files[name] if name in files else (bundle.path / name).read_bytes())
    write_file(staged / MANIFEST, manifest.to_json().encode())
    for hidden in bundle.path.glob(".*"):  # nobody's business, but somebody's
        if hidden.is_dir() and not hidden.is_symlink():
            shutil.copytree(hidden, staged / hidden.name, symlinks=True)
        else:
            shutil.copy2(hidden, staged / hidden.name, follow_symlinks=False)
    for name in (*checksums, MANIFEST):
        old = bundle.path / name
        _belong_like(staged / name, old if old.exists() else bundle.path / MANIFEST)
    _belong_like(staged, bundle.path)
    sync_folder(staged)


def _belong_like(new: Path, old: Path) -> None:
    """Give a file or folder the owner, group and permissions of the one it replaces."""
    found = old.stat()
    os.chown(new, found.st_uid, found.st_gid)
    new.chmod(stat.S_IMODE(found.st_mode))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process updates a version of this model; a process that dies stops updating."""
    try:
        descriptor = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise BundleUpdateError(f"{_called(folder)}: cannot be opened: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _called(folder: Path) -> str:
    return f"bundle {folder.parent.name}/{folder.name}"
