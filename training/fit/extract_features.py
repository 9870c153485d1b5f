"""The features of every picture, each computed once.

On the CPU they come from ONNX Runtime and not from torch, which takes several times as long there (LOG.md), so they are
those of the graph that will be served. Each thread reads, decodes and computes batches of its own.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from os import cpu_count

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress

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
CHUNK_BATCHES = 16  # between two writes: what a kill can cost
_DAMAGED = (ImageError, *READ_ERRORS)

Float32 = NDArray[np.float32]
Backbone = Callable[[NDArray[np.uint8]], Float32]


@dataclass(frozen=True)
class Extracted:
    """A split's pictures that could be read, with their features.

    Attributes:
        files: N pictures.
        features: (N, D) float32.
        unreadable: a line for each picture that was left out.
        computed: how many went through the backbone; the others were in the cache.

    """

    files: LabelledFiles
    features: Float32
    unreadable: tuple[str, ...]
    computed: int


def open_backbone(model: Classifier, recipe: Recipe, device: torch.device) -> tuple[Backbone, int]:
    """Return (B, H, W, 3) uint8 -> (B, D) features, to be called from several threads, and the size of a batch."""
    if device.type == "cpu":
        session = open_graph(features_graph(model, recipe), threads=1)
        return lambda pixels: session.run(["features"], {"images": pixels})[0], BATCH
    model = model.to(device, memory_format=torch.channels_last)
    one_at_a_time = threading.Lock()

    @torch.inference_mode()
    def run(pixels: NDArray[np.uint8]) -> Float32:
        with one_at_a_time:
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
    """Return the features of all pictures, from the cache as far as they are there.

    Args:
        files: a split.
        recipe: how a file becomes pixels.
        cache: of this backbone and recipe; what is computed is added to it at once.
        open_network: makes the backbone; not called where nothing is to be computed.
        max_unreadable: share of the pictures that may be missing or damaged; they are left out.
        threads: by default one for each core.

    Raises:
        DataError: more pictures than that cannot be read.
        TrainingError: a feature is NaN or infinite.

    """
    threads = threads or cpu_count() or 1
    unreadable: dict[int, str] = {}
    with images_progress() as progress, _threads(threads) as pool:
        bar = progress.add_task("looking", total=len(files))
        digests: list[bytes | None] = []
        for index, found in enumerate(pool.map(lambda name: _digest(files, name), files.names)):
            digests.append(found if isinstance(found, bytes) else None)
            if isinstance(found, str):
                unreadable[index] = found
            progress.advance(bar)
        first_of = {digest: index for index, digest in reversed(list(enumerate(digests))) if digest is not None}
        missing = sorted(index for digest, index in first_of.items() if digest not in cache)
        _check_unreadable(files, unreadable, max_unreadable)
        damaged: dict[bytes, str] = {}
        if missing:
            network, batch = open_network()
            work = _Work(files, recipe, [(index, digests[index] or b"") for index in missing], network, batch)
            damaged = _compute(work, cache, pool, progress)
    for index, digest in enumerate(digests):
        if digest in damaged:
            unreadable[index] = f"{files.names[index]}: {damaged[digest]}"
    _check_unreadable(files, unreadable, max_unreadable)
    readable = np.array([index not in unreadable for index in range(len(files))], dtype=bool)
    pictures = [digest for digest, can in zip(digests, readable, strict=True) if can and digest is not None]
    left_out = tuple(unreadable[index] for index in sorted(unreadable))
    return Extracted(files.part(readable), cache.features(pictures), left_out, len(missing) - len(damaged))


@dataclass(frozen=True)
class _Work:
    """The pictures to be computed, as (index, sha256), and what computes them."""

    files: LabelledFiles
    recipe: ImageRecipe
    pictures: list[tuple[int, bytes]]
    network: Backbone
    batch: int

    def run(self, start: int) -> tuple[list[bytes], Float32 | None, dict[bytes, str]]:
        """Compute one batch: the sha256s, their (n, D) features, and what is wrong with the others."""
        kept: list[bytes] = []
        pixels: list[NDArray[np.uint8]] = []
        damaged: dict[bytes, str] = {}
        for index, digest in self.pictures[start : start + self.batch]:
            try:
                pixels.append(decode_image(self.files.read(self.files.names[index]), self.recipe))
                kept.append(digest)
            except _DAMAGED as error:
                damaged[digest] = str(error)
        return kept, self.network(np.stack(pixels)) if pixels else None, damaged


def _compute(work: _Work, cache: FeatureCache, pool: ThreadPoolExecutor, progress: Progress) -> dict[bytes, str]:
    """Compute all of it and add it to the cache chunk by chunk; return what is wrong with the pictures that cannot be.

    Which pictures share a batch depends on the order alone, and chunks are whole batches: a run that was killed and
    goes on computes the same batches.
    """
    bar = progress.add_task("features", total=len(work.pictures))
    damaged: dict[bytes, str] = {}
    keys: list[bytes] = []
    parts: list[Float32] = []

    def keep() -> None:
        if keys:
            cache.add(keys, np.concatenate(parts))
        keys.clear()
        parts.clear()

    starts = range(0, len(work.pictures), work.batch)
    for number, (kept, features, bad) in enumerate(pool.map(work.run, starts), 1):
        damaged |= bad
        if features is not None:
            if not np.isfinite(features).all():
                raise TrainingError("the backbone gives NaN or infinity as features; are these its weights?")
            keys += kept
            parts.append(features)
        if number % CHUNK_BATCHES == 0:
            keep()
        progress.advance(bar, len(kept) + len(bad))
    keep()
    return damaged


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads whose work that has not begun is dropped when something goes wrong, or somebody presses Ctrl-C."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _digest(files: LabelledFiles, name: str) -> bytes | str:
    try:
        return hashlib.sha256(files.read(name)).digest()
    except _DAMAGED as error:
        return f"{name}: {error}"


def _check_unreadable(files: LabelledFiles, unreadable: dict[int, str], most: float) -> None:
    if len(unreadable) > most * len(files):
        raise DataError(
            f"{files.source}: {len(unreadable)} of {len(files):,} pictures cannot be read, such as "
            f"{first_few(unreadable.values(), separator='; ')}; mend or remove them, or let a share of the pictures "
            "be left out with --max-unreadable"
        )
