"""Read and write bundles: the folder NAME/VERSION that is one model.

A bundle may come from any machine, so the loader trusts nothing: it reads each file once, checks it against the
manifest's sha256, and refuses whatever does not fit, with a sentence that says why. Nothing is ever unpickled. The
writer verifies a new bundle with the same loader before the folder becomes visible.
docs/reference/bundle-format.md has the format.
"""

import dataclasses
import hashlib
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from models import onnx_signature, strict_json
from models.durable_files import sync_folder, write_file
from models.errors import (
    BundleChecksumError,
    BundleError,
    BundleExistsError,
    BundleMissingFileError,
    BundlePathError,
    BundleShapeError,
    BundleValueError,
)
from models.manifest import Manifest
from models.repository import MANIFEST, bundle_name, bundle_path, is_broken_link, real_folder

__all__ = ["Bundle", "load_bundle", "save_bundle"]

GRAPH = "model.onnx"
HEAD = "head.safetensors"
CARD = "README.md"
MAX_HEADER_BYTES = 65536  # three tensors need about 250
MAX_ATTEMPTS = 20  # at reading a bundle that is being exchanged
_SAFETENSORS_TYPES = {"class_effect": "F32", "mean_feature": "F32", "class_counts": "I64"}
_NUMPY_TYPES = {"F32": "<f4", "I64": "<i8"}


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A verified model. The arrays are read-only.

    Args:
        path: the folder NAME/VERSION, as an absolute path; NAME and VERSION may be links.
        manifest: the contents of manifest.json.
        class_effect: (K, C) float32, see models/tde.py.
        mean_feature: (D,) float32, the mean training feature; for information only, since class_effect already contains
            it.
        class_counts: (C,) int64 training images of each class.
        folder: the folder that `path` led to when the bundle was read; the same path if neither part is a link.

    """

    path: Path
    manifest: Manifest
    class_effect: NDArray[np.float32]
    mean_feature: NDArray[np.float32]
    class_counts: NDArray[np.int64]
    folder: Path

    @property
    def model_path(self) -> Path:
        """The ONNX graph."""
        return self.folder / GRAPH

    @property
    def place(self) -> str:
        """The path for messages; if it is a link, with the folder that it led to."""
        return str(self.path) if self.folder == self.path else f"{self.path} (linked to {self.folder})"


def load_bundle(path: Path | str) -> Bundle:
    """Read the bundle in the folder `path` = .../NAME/VERSION, where NAME and VERSION may be links.

    If another bundle takes its place while it is read (`update.py`, or a changed link), it is read again.

    Raises:
        BundleError: one of its subclasses, if the bundle is not valid; the message starts with the folder.

    """
    folder = bundle_path(path)
    attempts = MAX_ATTEMPTS
    while True:
        attempts -= 1
        identity = _identity(folder)
        try:
            return _load(folder)
        except (BundleError, OSError) as error:
            if attempts and _identity(folder) != identity:
                continue
            kind = BundleMissingFileError if isinstance(error, OSError) else type(error)
            what = f"cannot be read: {error}" if isinstance(error, OSError) else str(error)
            raise kind(f"{bundle_name(folder)}: {what}") from error


def save_bundle(
    directory: Path,
    manifest_without_checksums: Manifest,
    *,
    model_onnx: bytes,
    class_effect: NDArray[Any],
    mean_feature: NDArray[Any],
    class_counts: NDArray[Any],
    readme: str,
    extra_files: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Write a bundle to `directory` = .../NAME/VERSION: all of it, verified, or nothing.

    Args:
        directory: must not exist; its last two parts are the manifest's name and version.
        manifest_without_checksums: `sha256` is filled in here.
        model_onnx: the graph, one file.
        class_effect: (K, C).
        mean_feature: (D,).
        class_counts: (C,) training images of each class, the manifest's.
        readme: the model card, Markdown.
        extra_files: plain file name -> content, e.g. the card's picture.

    Raises:
        BundleExistsError: `directory` is there already.
        BundleError: what was given is not a valid bundle.

    """
    if directory.exists() or directory.is_symlink():
        raise BundleExistsError(f"{directory} already exists; delete it, or choose another version")
    directory = bundle_path(directory)
    if is_broken_link(directory.parent):
        raise BundlePathError(f"{directory.parent} is a link that leads nowhere; remove it, or link it to a folder")
    tensors: dict[str, NDArray[Any]] = {
        "class_effect": np.ascontiguousarray(class_effect, np.float32),
        "mean_feature": np.ascontiguousarray(mean_feature, np.float32),
        "class_counts": np.ascontiguousarray(class_counts, np.int64),
    }
    files = {GRAPH: model_onnx, HEAD: safetensors.numpy.save(tensors), CARD: readme.encode()}
    if clash := sorted(files.keys() & dict(extra_files or {}).keys()):
        raise BundlePathError(f"extra file {clash[0]} would replace the bundle's own")
    files |= extra_files or {}
    checksums = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    manifest = dataclasses.replace(manifest_without_checksums, sha256=checksums)
    files[MANIFEST] = manifest.to_json().encode()

    anchor = next(parent for parent in directory.parents if parent.is_dir())
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=anchor) as scratch:
        folder = Path(scratch, directory.parent.name, directory.name)
        folder.mkdir(parents=True)
        for name, content in files.items():
            write_file(folder / name, content)
        sync_folder(folder)
        bundle = load_bundle(folder)
        directory.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(directory)
        except OSError as error:
            raise BundleExistsError(f"{directory} could not be put in place: {error}") from error
        sync_folder(directory.parent)
    return dataclasses.replace(bundle, path=directory, folder=real_folder(directory))


def _identity(folder: Path) -> tuple[int, int, int] | None:
    """Return what changes if another folder takes this one's place; None if there is no folder."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns


def _load(path: Path) -> Bundle:
    if link := next(filter(is_broken_link, (path.parent, path)), None):
        raise BundleMissingFileError(f"{link} is a link that leads nowhere")
    folder = real_folder(path)  # followed once, so that all files are read from one folder if a link is changed
    if not folder.is_dir():
        raise BundleMissingFileError(f"there is no folder {path}")
    manifest = Manifest.from_json(_read(folder, MANIFEST, strict_json.MAX_BYTES + 1))
    if (path.parent.name, path.name) != (manifest.name, str(manifest.version)):
        says = f"manifest.json says it is {manifest.name}/{manifest.version}"
        raise BundlePathError(f"{says}; name the folder so, or the link to it")
    listed = manifest.sha256
    if missing := [name for name in (GRAPH, HEAD, CARD) if name not in listed]:
        raise BundleChecksumError(f"manifest.json lists no sha256 for {', '.join(missing)}")
    present = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}
    if strangers := sorted(present - listed.keys() - {MANIFEST}):
        raise BundleChecksumError(f"{strangers[0]} is not listed in manifest.json; remove it")
    contents = {}
    for name, digest in listed.items():
        content = _read(folder, name)
        if hashlib.sha256(content).hexdigest() != digest:
            raise BundleChecksumError(f"{name} is not the file that was saved: its sha256 differs from manifest.json's")
        if name in (GRAPH, HEAD):
            contents[name] = content
    onnx_signature.check_contract(
        onnx_signature.read_signature(contents[GRAPH]),
        height=manifest.input.height,
        width=manifest.input.width,
        num_classes=len(manifest.classes),
        num_heads=manifest.num_heads,
    )
    tensors = _read_tensors(contents[HEAD])
    _check_tensors(tensors, manifest)
    return Bundle(path, manifest, **tensors, folder=folder)


def _read(folder: Path, name: str, at_most: int = -1) -> bytes:
    """Return the content, or its first `at_most` bytes, of a regular file in the folder; it may be linked inside it."""
    path = folder / name
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: symlinks in a circle, before Python 3.13
        what = "is a link that leads nowhere" if path.is_symlink() else "is missing"
        raise BundleMissingFileError(f"{name} {what}") from error
    if not target.is_relative_to(folder):
        raise BundlePathError(f"{name} leads out of the folder, to {target}; copy the file instead of linking it")
    if not stat.S_ISREG(target.stat().st_mode):
        raise BundlePathError(f"{name} is not a regular file")
    with target.open("rb") as file:
        return file.read(at_most)


def _read_tensors(data: bytes) -> dict[str, NDArray[Any]]:
    header_bytes = int.from_bytes(data[:8], "little")
    if header_bytes > MAX_HEADER_BYTES:
        raise BundleShapeError(f"{HEAD} announces a header of {header_bytes} bytes; three tensors need a few hundred")
    try:
        entries = dict(safetensors.deserialize(data))  # type: ignore[no-untyped-call]  # a Rust function
    except (safetensors.SafetensorError, ValueError) as error:
        raise BundleShapeError(f"{HEAD} is not a safetensors file: {error}") from error
    found = {name: entry["dtype"] for name, entry in entries.items()}
    if found != _SAFETENSORS_TYPES:
        raise BundleShapeError(f"{HEAD} holds {_listing(found)}; the format wants {_listing(_SAFETENSORS_TYPES)}")
    return {
        name: np.frombuffer(bytes(entry["data"]), _NUMPY_TYPES[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in entries.items()
    }


def _check_tensors(tensors: dict[str, NDArray[Any]], manifest: Manifest) -> None:
    num_heads = manifest.num_heads
    num_classes = len(manifest.classes)
    effect, mean, counts = (tensors[name] for name in ("class_effect", "mean_feature", "class_counts"))
    if effect.shape != (num_heads, num_classes):
        raise BundleShapeError(
            f"class_effect is {list(effect.shape)} but the manifest has {num_heads} heads and {num_classes} classes; "
            "they come from different runs"
        )
    if mean.ndim != 1 or not mean.size or mean.size % num_heads:
        raise BundleShapeError(f"mean_feature is {list(mean.shape)}, which {num_heads} heads cannot share equally")
    if counts.shape != (num_classes,):
        raise BundleShapeError(f"class_counts is {list(counts.shape)} but the manifest has {num_classes} classes")
    for name in ("class_effect", "mean_feature"):
        if not np.isfinite(tensors[name]).all():
            raise BundleValueError(f"{name} holds NaN or infinity")
    for index, (count, info) in enumerate(zip(counts.tolist(), manifest.classes, strict=True)):
        if count != info.training_count:
            raise BundleValueError(
                f"class_counts[{index}] is {count} but the manifest gives {info.name!r} {info.training_count} images"
            )


def _listing(types: Mapping[str, str]) -> str:
    return ", ".join(f"{name[:60]} {types[name]}" for name in sorted(types)[:10]) or "nothing"
