"""An engine that is exact and instant, for tests and demonstrations; it can be made to block, fail or be wrong."""

import threading
from collections.abc import Callable

import numpy as np
from typing_extensions import override

from engines.base import Engine, Float, Pixels
from models.bundle import Bundle

__all__ = ["FakeEngine"]


class FakeEngine(Engine):
    """An engine whose output for an image depends on that image only, so tests notice if images are mixed up.

    Class i's logit is (sum of the image's bytes · (i + 1)) mod 97 / 8. Cosine k is (sum + k) mod 10 / 10.

    Attributes:
        batches: the sizes of the batches that have run.
        gate: while it is cleared, every run blocks.
        running: released at the start of every run.
        failure: an exception that every run raises, or None.
        spoil: applied to the logits before they are returned, for example to make one NaN.

    """

    def __init__(self, bundle: Bundle) -> None:
        self.num_classes = len(bundle.manifest.classes)
        self.num_heads = bundle.manifest.num_heads
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.running = threading.Semaphore(0)
        self.failure: Exception | None = None
        self.spoil: Callable[[Float], Float] = lambda logits: logits

    @property
    @override
    def description(self) -> str:
        return "fake engine"

    @property
    @override
    def runtime(self) -> str:
        return "fake"

    @override
    def run(self, images: Pixels, *, alone: bool = False) -> tuple[Float, Float]:
        self.running.release()
        self.gate.wait()
        self.batches.append(len(images))
        if self.failure is not None:
            raise self.failure
        return self.spoil(self.logits(images)), self.head_cosine(images)

    def logits(self, images: Pixels) -> Float:
        """Return the (B, C) logits of a run, before `spoil`."""
        sums = images.reshape(len(images), -1).sum(axis=1, dtype=np.int64)
        logits: Float = (np.outer(sums, np.arange(1, self.num_classes + 1)) % 97 / 8).astype(np.float32)
        return logits

    def head_cosine(self, images: Pixels) -> Float:
        """Return the (B, K) head cosine of a run."""
        sums = images.reshape(len(images), -1).sum(axis=1, dtype=np.int64)
        cosine: Float = ((sums[:, None] + np.arange(self.num_heads)) % 10 / 10).astype(np.float32)
        return cosine
