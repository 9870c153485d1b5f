"""A cache of features on disk: no picture goes through the backbone twice, even after a kill or if pictures are added.

    CACHE/NAME-KEY/recipe.json             what the features were computed with; KEY is its sha256
    CACHE/NAME-KEY/SHA256.safetensors      a chunk: `features` (n, D) float32, `pictures` (n, 32) uint8

A picture is identified by the sha256 of its file. A changed picture is therefore computed again, whatever its name and
time, and a moved picture is not. A chunk is named after its own sha256 and put in place in one step, so a killed run
leaves whole chunks only. The name of a chunk that was damaged later no longer matches: the user is told, and its
pictures are computed again.
"""

import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from models.durable_files import sync_folder, write_file

__all__ = ["FeatureCache", "default_cache_folder"]

FORMAT = 1
DIGEST_BYTES = 32
MAX_WRITE_SECONDS = 3600  # an older partial file was left behind by a killed run
Float32 = NDArray[np.float32]


def default_cache_folder() -> Path:
    """Return `$XDG_CACHE_HOME/longtail/features`, by default in `~/.cache`.

    The cache does not lie beside the bundles, because servers watch that folder.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longtail" / "features"


class FeatureCache:
    """The features computed so far with one backbone, one file of weights and one input recipe.

    Args:
        root: the folder of all caches, created if it does not exist.
        name: the name of the backbone.
        settings: everything else that decides the features, as JSON values; other settings are another cache.
        warn: called with a sentence about each damaged chunk.

    """

    def __init__(self, root: Path, name: str, settings: dict[str, Any], warn: Callable[[str], None]) -> None:
        text = json.dumps({"format": FORMAT, "backbone": name, **settings}, indent=2, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.folder = root / f"{name.replace('/', '-')}-{key}"
        self._rows: dict[bytes, tuple[Path, int]] = {}  # sha256 of a picture -> its chunk and row
        self.folder.mkdir(parents=True, exist_ok=True)
        _put(self.folder / "recipe.json", text.encode())
        for part in self.folder.glob(".*.part"):
            if time.time() - part.stat().st_mtime > MAX_WRITE_SECONDS:
                part.unlink(missing_ok=True)
        for chunk in sorted(self.folder.glob("*.safetensors")):
            self._add_chunk(chunk, warn)

    def __contains__(self, picture: bytes) -> bool:
        """Return whether the features of the picture with this sha256 are cached."""
        return picture in self._rows

    def features(self, pictures: list[bytes]) -> Float32:
        """Return (N, D) features for the sha256s of N cached pictures, reading one chunk at a time."""
        wanted: dict[Path, list[tuple[int, int]]] = defaultdict(list)
        for index, picture in enumerate(pictures):
            chunk, row = self._rows[picture]
            wanted[chunk].append((index, row))
        found: Float32 | None = None
        for chunk, places in wanted.items():
            features = safetensors.numpy.load_file(chunk)["features"]
            if found is None:
                found = np.empty((len(pictures), features.shape[1]), np.float32)
            indices, rows = map(list, zip(*places, strict=True))
            found[indices] = features[rows]
        if found is None:
            raise ValueError("no pictures given; name at least one")
        return found

    def add(self, pictures: list[bytes], features: Float32) -> None:
        """Write (n, D) features of n pictures to disk; they are there when this returns."""
        keys = np.frombuffer(b"".join(pictures), np.uint8).reshape(len(pictures), DIGEST_BYTES)
        content = safetensors.numpy.save({"features": np.ascontiguousarray(features, np.float32), "pictures": keys})
        chunk = self.folder / f"{hashlib.sha256(content).hexdigest()}.safetensors"
        _put(chunk, content)
        self._rows |= {picture: (chunk, row) for row, picture in enumerate(pictures)}

    def _add_chunk(self, chunk: Path, warn: Callable[[str], None]) -> None:
        """Add a chunk's pictures to the index, or delete the chunk if it is damaged."""
        with chunk.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != chunk.stem:
            warn(f"{chunk} is damaged; it is removed and its pictures are computed again")
            chunk.unlink()
            return
        with safetensors.safe_open(chunk, "numpy") as tensors:
            keys = tensors.get_tensor("pictures")
        self._rows |= {key.tobytes(): (chunk, row) for row, key in enumerate(keys)}


def _put(path: Path, content: bytes) -> None:
    """Write a file completely or not at all. Another process may write the same file at the same time."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write_file(part, content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)
