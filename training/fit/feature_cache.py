"""Features on disk, so that no picture goes through the backbone twice, also after a kill or when pictures are added.

    CACHE/NAME-KEY/recipe.json             what the features were computed with; KEY is its sha256
    CACHE/NAME-KEY/SHA256.safetensors      a chunk: `features` (n, D) float32, `pictures` (n, 32) uint8

A picture is known by the sha256 of its file, so one that changes is computed anew, whatever its name and time say, and
one that is moved or listed elsewhere is not. A chunk is named after its own sha256 and put in place in one step: a
killed run leaves whole chunks, and one that was damaged since does not have its name, is said, and is computed again.
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
STALE_SECONDS = 3600  # no chunk takes that long to write
Float32 = NDArray[np.float32]


def default_cache_folder() -> Path:
    """Return `$XDG_CACHE_HOME/longtail/features`, by default below `~/.cache`.

    Not beside the bundle: servers watch that folder.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longtail" / "features"


class FeatureCache:
    """The features computed so far with one backbone, one file of weights and one input recipe.

    Args:
        root: the cache's folder, made where it is not there.
        name: of the backbone.
        recipe: whatever else decides the features, as plain values; another recipe is another cache.
        say: told of what was damaged.

    """

    def __init__(self, root: Path, name: str, recipe: dict[str, Any], say: Callable[[str], None]) -> None:
        text = json.dumps({"format": FORMAT, "backbone": name, **recipe}, indent=2, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.folder = root / f"{name.replace('/', '-')}-{key}"
        self._rows: dict[bytes, tuple[Path, int]] = {}  # sha256 of a picture -> its chunk and row
        self.folder.mkdir(parents=True, exist_ok=True)
        _put(self.folder / "recipe.json", text.encode())
        for part in self.folder.glob(".*.part"):  # of a run that was killed, if it is old
            if time.time() - part.stat().st_mtime > STALE_SECONDS:
                part.unlink(missing_ok=True)
        for chunk in sorted(self.folder.glob("*.safetensors")):
            self._take(chunk, say)

    def __contains__(self, picture: bytes) -> bool:
        """Say whether the features of the picture with this sha256 are there."""
        return picture in self._rows

    def features(self, pictures: list[bytes]) -> Float32:
        """Return (N, D) for pictures that are all there; a chunk at a time is read."""
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
            raise ValueError("features of no pictures were asked for")
        return found

    def add(self, pictures: list[bytes], features: Float32) -> None:
        """Keep the features, (n, D); when this returns they are on the disk."""
        keys = np.frombuffer(b"".join(pictures), np.uint8).reshape(len(pictures), DIGEST_BYTES)
        content = safetensors.numpy.save({"features": np.ascontiguousarray(features, np.float32), "pictures": keys})
        chunk = self.folder / f"{hashlib.sha256(content).hexdigest()}.safetensors"
        _put(chunk, content)
        self._rows |= {picture: (chunk, row) for row, picture in enumerate(pictures)}

    def _take(self, chunk: Path, say: Callable[[str], None]) -> None:
        with chunk.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != chunk.stem:
            say(f"{chunk} is damaged; it is removed and its pictures are computed again")
            chunk.unlink()
            return
        with safetensors.safe_open(chunk, "numpy") as tensors:
            keys = tensors.get_tensor("pictures")
        self._rows |= {key.tobytes(): (chunk, row) for row, key in enumerate(keys)}


def _put(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; another process that writes the same one is no harm."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write_file(part, content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)
