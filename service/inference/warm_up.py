"""Runs a model that has just been loaded, before anybody's picture does: it works, it is warm, and how batches pay.

The first run of a size is slow, as memory is laid out for it. What comes out is checked. Then each size is timed for a
moment, for what a batch gives depends on the network and the machine: nothing on many a CPU, where eight large pictures
at once are even slower than one after the other, and a great deal on a GPU. Pictures that wait longer for nothing are
not put together (`batch_policy`).
"""

import time
from collections.abc import Callable, Mapping

import numpy as np

from engines.base import Engine, EngineError, Pixels
from models.bundle import Bundle
from service.inference.batching import BatchPolicy

__all__ = ["batch_policy", "warm_up"]

SECONDS = 0.3  # of timed runs, for each model
SECONDS_PER_SIZE = 0.06
RUNS = 3  # at most, of a size
AS_GOOD = 0.97  # of the best images/s
AROUND_A_BATCH = 0.0005  # seconds that all else around a run takes, whatever its size: the more at once the better
FAST_SECONDS = 0.005  # an image, in the best batch: a tenth of it goes into what is around a run
NO_BETTER = 1.15  # times the seconds per image of the best size: larger ones need not be tried


def batch_policy(timings: Mapping[int, float]) -> BatchPolicy:
    """Return how pictures of a model are best put together.

    Args:
        timings: images in a batch -> seconds that the network takes.

    Returns:
        The largest size whose images/s, what is around a run counted in, are within 3 % of the best; and whether an
        image takes less than 5 ms there.

    >>> batch_policy({1: 0.010, 2: 0.0202, 4: 0.044})
    BatchPolicy(max_images=2, fast=False)

    """
    rates = {size: size / (seconds + AROUND_A_BATCH) for size, seconds in timings.items()}
    most = max(size for size, rate in rates.items() if rate >= AS_GOOD * max(rates.values()))
    return BatchPolicy(most, fast=min(seconds / size for size, seconds in timings.items()) < FAST_SECONDS)


def warm_up(bundle: Bundle, engine: Engine, most: int, clock: Callable[[], float] = time.perf_counter) -> BatchPolicy:
    """Run batches of grey pictures, each size that will be used, and return how its pictures are best put together.

    Args:
        bundle: what the numbers are checked against.
        engine: what runs it.
        most: no larger batch will be asked for. Only 1, 2, 4, ... are timed; beyond what is returned sizes stay cold.
        clock: seconds.

    Raises:
        EngineError: the graph fails, or gives other shapes than promised, or numbers that are not finite.

    """
    sizes = sorted({1 << power for power in range(most.bit_length())} | {most})
    timings: dict[int, float] = {}
    spent = 0.0
    for size in sizes:
        best = min(timings, key=lambda each: timings[each] / each, default=1)
        expected = timings[best] / best * size if timings else 0.0
        if spent + expected > SECONDS:
            break
        timings[size], seconds = _time(bundle, engine, size, clock)
        spent += seconds
        if (timings[size] + AROUND_A_BATCH) / size > NO_BETTER * (timings[best] + AROUND_A_BATCH) / best:
            break
    policy = batch_policy(timings)
    for size in range(1, policy.max_images + 1):
        if size not in timings:
            _check(bundle, engine, _grey(bundle, size))
    return policy


def _grey(bundle: Bundle, size: int) -> Pixels:
    return np.full((size, bundle.manifest.input.height, bundle.manifest.input.width, 3), 128, np.uint8)


def _time(bundle: Bundle, engine: Engine, size: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Return how long a batch takes at best, and all the timed runs together."""
    grey = _grey(bundle, size)
    _check(bundle, engine, grey)
    best = float("inf")
    spent = 0.0
    for _ in range(RUNS):
        started = clock()
        engine.run(grey)
        seconds = max(clock() - started, 1e-9)
        best = min(best, seconds)
        spent = spent + seconds
        if spent > SECONDS_PER_SIZE:
            break
    return best, spent


def _check(bundle: Bundle, engine: Engine, grey: Pixels) -> None:
    manifest = bundle.manifest
    images = len(grey)
    who = f"bundle {manifest.name}/{manifest.version}"
    try:
        if images == 1:
            engine.run(grey, alone=True)
        logits, head_cosine = engine.run(grey)
    except Exception as error:
        raise EngineError(f"{who}: the graph fails on a batch of {images} grey pictures: {error}") from error
    expected = (images, len(manifest.classes)), (images, manifest.num_heads)
    if (logits.shape, head_cosine.shape) != expected:
        raise EngineError(
            f"{who}: a batch of {images} gives {logits.shape} and {head_cosine.shape}, expected {expected}"
        )
    if not (np.isfinite(logits).all() and np.isfinite(head_cosine).all()):
        raise EngineError(f"{who}: the graph gives numbers that are not finite on a grey picture")
