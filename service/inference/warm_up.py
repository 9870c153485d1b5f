"""The warm-up of a model that has just been loaded: it checks and warms the engine, and measures its best batch size.

The first run of a batch size is slow, because the engine allocates memory for it. The output of that run is checked.
Then each size is timed briefly, since the benefit of a batch depends on the network and the machine. On many CPUs there
is none, and eight large pictures at once are even slower than one after the other. On a GPU the benefit is large. From
the timings `batch_policy` chooses the largest size that is worth waiting for.
"""

import time
from collections.abc import Callable, Mapping

import numpy as np

from engines.base import Engine, EngineError, Pixels
from models.bundle import Bundle
from service.inference.batching import BatchPolicy

__all__ = ["batch_policy", "warm_up"]

MAX_SECONDS = 0.3  # of timed runs for each model
MAX_SECONDS_PER_SIZE = 0.06
MAX_RUNS = 3  # of each size
NEAR_BEST = 0.97  # of the best rate in images/s; the largest size that reaches it is chosen
OVERHEAD_SECONDS = 0.0005  # of a batch besides the run itself, whatever its size; larger batches share it among more
FAST_SECONDS = 0.005  # for an image in the best batch; the overhead is then a tenth of it or more
MUCH_SLOWER = 1.15  # times the best seconds per image; beyond this, larger sizes are not tried


def batch_policy(timings: Mapping[int, float]) -> BatchPolicy:
    """Return how a model's pictures should be batched.

    Args:
        timings: images in a batch -> seconds that the network takes.

    Returns:
        The largest size whose rate in images/s, including the overhead, is within 3 % of the best; and whether an image
        takes less than 5 ms in the best case.

    >>> batch_policy({1: 0.010, 2: 0.0202, 4: 0.044})
    BatchPolicy(max_images=2, fast=False)

    """
    rates = {size: size / (seconds + OVERHEAD_SECONDS) for size, seconds in timings.items()}
    max_images = max(size for size, rate in rates.items() if rate >= NEAR_BEST * max(rates.values()))
    return BatchPolicy(max_images, fast=min(seconds / size for size, seconds in timings.items()) < FAST_SECONDS)


def warm_up(
    bundle: Bundle, engine: Engine, max_images: int, clock: Callable[[], float] = time.perf_counter
) -> BatchPolicy:
    """Run batches of grey pictures in every size that will be used, and return how to batch the model's pictures.

    Args:
        bundle: says which shapes the output must have.
        engine: runs the bundle's network.
        max_images: maximum size of a batch. Only 1, 2, 4, ... and this size are timed.
        clock: returns seconds.

    Raises:
        EngineError: the graph fails, or its output has the wrong shape or is not finite.

    """
    sizes = sorted({1 << power for power in range(max_images.bit_length())} | {max_images})
    timings: dict[int, float] = {}
    spent = 0.0
    for size in sizes:
        best = min(timings, key=lambda tried: timings[tried] / tried, default=1)
        expected = timings[best] / best * size if timings else 0.0
        if spent + expected > MAX_SECONDS:
            break
        timings[size], seconds = _time(bundle, engine, size, clock)
        spent += seconds
        if (timings[size] + OVERHEAD_SECONDS) / size > MUCH_SLOWER * (timings[best] + OVERHEAD_SECONDS) / best:
            break
    policy = batch_policy(timings)
    for size in range(1, policy.max_images + 1):
        if size not in timings:
            _check(bundle, engine, _grey(bundle, size))
    return policy


def _grey(bundle: Bundle, size: int) -> Pixels:
    return np.full((size, bundle.manifest.input.height, bundle.manifest.input.width, 3), 128, np.uint8)


def _time(bundle: Bundle, engine: Engine, size: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Return the seconds of the fastest run of a batch, and of all timed runs together."""
    grey = _grey(bundle, size)
    _check(bundle, engine, grey)
    best = float("inf")
    spent = 0.0
    for _ in range(MAX_RUNS):
        started = clock()
        engine.run(grey)
        seconds = max(clock() - started, 1e-9)
        best = min(best, seconds)
        spent += seconds
        if spent > MAX_SECONDS_PER_SIZE:
            break
    return best, spent


def _check(bundle: Bundle, engine: Engine, grey: Pixels) -> None:
    manifest = bundle.manifest
    images = len(grey)
    name = f"bundle {manifest.name}/{manifest.version}"
    try:
        if images == 1:
            engine.run(grey, alone=True)
        logits, head_cosine = engine.run(grey)
    except Exception as error:
        raise EngineError(f"{name}: the graph fails on a batch of {images} grey pictures: {error}") from error
    expected = (images, len(manifest.classes)), (images, manifest.num_heads)
    if (logits.shape, head_cosine.shape) != expected:
        raise EngineError(
            f"{name}: for a batch of {images} the graph returns {logits.shape} and {head_cosine.shape}, "
            f"expected {expected}"
        )
    if not (np.isfinite(logits).all() and np.isfinite(head_cosine).all()):
        raise EngineError(f"{name}: the graph's output for a grey picture is not finite")
