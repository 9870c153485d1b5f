"""Extract the backbone's features of every picture, each computed once.

On the CPU, ONNX Runtime computes them: it is several times faster there than torch (LOG.md), and the features are those
of the graph that will be served. Each thread reads, decodes and computes its own batches.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress

from models.cores import CORES
from models.errors import ImageError
from models.manifest import ImageRecipe
from models.preprocess import decode_image
from models.sentences import first_few
from training.data.labelled_files import LabelledFiles
from training.data.labelled_images import READ_ERRORS
from training.errors import DataError, TrainingError
from training.evaluation.graph_scores import open_graph
from training.export.onnx_graph import features_graph
from training.fit.feature_cache import FeatureCache
from training.model.classifier import Classifier
from training.progress import images_progress
from training.recipe.recipe import Recipe

__all__ = ["Backbone", "Extracted", "extract", "open_backbone"]

BATCH = 8  # images; each thread holds one batch
BATCH_ON_GPU = 64
CHUNK_BATCHES = 16  # batches between two writes, the most that a kill can cost
_UNREADABLE = (ImageError, *READ_ERRORS)

Float32 = NDArray[np.float32]
Backbone = Callable[[NDArray[np.uint8]], Float32]


@dataclass(frozen=True)
class Extracted:
    """The readable pictures of a split, with their features.

    Attributes:
        files: N pictures.
        features: (N, D) float32.
        unreadable: a line for each picture that was left out: its name and the error.
        computed: how many pictures went through the backbone; the others were cached.

    """

    files: LabelledFiles
    features: Float32
    unreadable: tuple[str, ...]
    computed: int


def open_backbone(model: Classifier, recipe: Recipe, device: torch.device) -> tuple[Backbone, int]:
    """Return the backbone as a function that several threads may call, and the size of a batch.

    The function takes (B, H, W, 3) uint8 and returns (B, D) features.
    """
    if device.type == "cpu":
        session = open_graph(features_graph(model, recipe), threads=1)
        return lambda pixels: session.run(["features"], {"images": pixels})[0], BATCH
    model = model.to(device).to(memory_format=torch.channels_last)
    gpu_lock = threading.Lock()

    @torch.inference_mode()
    def run(pixels: NDArray[np.uint8]) -> Float32:
        with gpu_lock:
            features: Float32 = model.backbone(model.prepare(pixels)).float().cpu().numpy()
            return features

    return run, BATCH_ON_GPU


def extract(
    files: LabelledFiles,
    recipe: ImageRecipe,
    cache: FeatureCache,
    open_network: Callable[[], tuple[Backbone, int]],
    *,
    max_unreadable: float = 0.0,
    threads: int | None = None,
) -> Extracted:
    """Return the features of all readable pictures, computing those that are not cached.

    Args:
        files: the pictures of a split.
        recipe: how a picture becomes pixels.
        cache: the cache of this backbone and recipe; computed features are added to it as soon as they are known.
        open_network: makes the backbone; not called if nothing has to be computed.
        max_unreadable: the share of the pictures that may be missing or damaged; they are left out.
        threads: the number of threads, by default one for each usable core.

    Raises:
        DataError: too many pictures cannot be read.
        TrainingError: a feature is NaN or infinite.

    """
    unreadable: dict[int, str] = {}
    with images_progress() as progress, _cancelling_pool(threads or CORES) as pool:
        digests = _digests(files, unreadable, pool, progress)
        _check_unreadable(files, unreadable, max_unreadable)
        first_index = {digest: index for index, digest in reversed(list(enumerate(digests))) if digest is not None}
        missing = sorted((index, digest) for digest, index in first_index.items() if digest not in cache)
        damaged: dict[bytes, str] = {}
        if missing:
            network, batch = open_network()
            damaged = _compute(_Work(files, recipe, missing, network, batch), cache, pool, progress)
    for index, digest in enumerate(digests):
        if digest in damaged:
            unreadable[index] = f"{files.names[index]}: {damaged[digest]}"
    _check_unreadable(files, unreadable, max_unreadable)
    readable = np.array([index not in unreadable for index in range(len(files))], dtype=bool)
    pictures = [digest for digest, can in zip(digests, readable, strict=True) if can and digest is not None]
    left_out = tuple(unreadable[index] for index in sorted(unreadable))
    return Extracted(files.part(readable), cache.features(pictures), left_out, len(missing) - len(damaged))


def _digests(
    files: LabelledFiles, unreadable: dict[int, str], pool: ThreadPoolExecutor, progress: Progress
) -> list[bytes | None]:
    """Return the sha256 of every picture, or None and an entry in `unreadable` if its file cannot be read."""
    bar = progress.add_task("looking", total=len(files))
    digests: list[bytes | None] = []
    for index, found in enumerate(pool.map(lambda name: _digest(files, name), files.names)):
        digests.append(found if isinstance(found, bytes) else None)
        if isinstance(found, str):
            unreadable[index] = found
        progress.advance(bar)
    return digests


@dataclass(frozen=True)
class _Work:
    """The pictures to compute, as (index, sha256), and the backbone that computes them."""

    files: LabelledFiles
    recipe: ImageRecipe
    pictures: list[tuple[int, bytes]]
    network: Backbone
    batch: int

    def run(self, start: int) -> tuple[list[bytes], Float32 | None, dict[bytes, str]]:
        """Compute the batch that starts at this picture.

        Returns:
            The sha256s of n pictures, their (n, D) features (None if n is 0), and the errors of the other pictures.

        """
        kept: list[bytes] = []
        pixels: list[NDArray[np.uint8]] = []
        damaged: dict[bytes, str] = {}
        for index, digest in self.pictures[start : start + self.batch]:
            try:
                pixels.append(decode_image(self.files.read(self.files.names[index]), self.recipe))
                kept.append(digest)
            except _UNREADABLE as error:
                damaged[digest] = str(error)
        return kept, self.network(np.stack(pixels)) if pixels else None, damaged


def _compute(work: _Work, cache: FeatureCache, pool: ThreadPoolExecutor, progress: Progress) -> dict[bytes, str]:
    """Compute all pictures and add them to the cache chunk by chunk; return the errors of those that cannot be decoded.

    The order alone decides which pictures share a batch, and chunks are whole batches, so a run that resumes after a
    kill computes the same batches.
    """
    bar = progress.add_task("features", total=len(work.pictures))
    damaged: dict[bytes, str] = {}
    keys: list[bytes] = []
    parts: list[Float32] = []

    def write_chunk() -> None:
        if keys:
            cache.add(keys, np.concatenate(parts))
        keys.clear()
        parts.clear()

    starts = range(0, len(work.pictures), work.batch)
    for number, (kept, features, errors) in enumerate(pool.map(work.run, starts), 1):
        damaged |= errors
        if features is not None:
            if not np.isfinite(features).all():
                raise TrainingError("the backbone gives NaN or infinity as features; do these weights belong to it?")
            keys += kept
            parts.append(features)
        if number % CHUNK_BATCHES == 0:
            write_chunk()
        progress.advance(bar, len(kept) + len(errors))
    write_chunk()
    return damaged


@contextmanager
def _cancelling_pool(count: int) -> Iterator[ThreadPoolExecutor]:
    """Provide threads; on an error or Ctrl-C, work that has not started is cancelled."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _digest(files: LabelledFiles, name: str) -> bytes | str:
    try:
        return hashlib.sha256(files.read(name)).digest()
    except _UNREADABLE as error:
        return f"{name}: {error}"


def _check_unreadable(files: LabelledFiles, unreadable: dict[int, str], max_share: float) -> None:
    if len(unreadable) > max_share * len(files):
        raise DataError(
            f"{files.source}: {len(unreadable)} of {len(files):,} pictures cannot be read: "
            f"{first_few(unreadable.values(), separator='; ')}; repair or remove them, or allow a share of them with "
            "--max-unreadable"
        )
