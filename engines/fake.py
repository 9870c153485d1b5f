"""An engine that is exact and instant, for tests and demonstrations; it can be told to hold, to fail or to lie."""

import threading
from collections.abc import Callable

import numpy as np

from engines.base import Float, Pixels
from models.bundle import Bundle

__all__ = ["FakeEngine"]


class FakeEngine:
    """Logits and cosines as a fixed function of each image alone, so that any mix-up between images shows.

    Class i's logit is (sum of the image's bytes · (i + 1)) mod 97 / 8; cosine k is (sum + k) mod 10 / 10.

    Attributes:
        batches: sizes of the batches run so far.
        gate: cleared, every run waits until it is set again.
        failure: an exception that runs raise, or None.
        spoil: applied to the logits before they are returned, e.g. to make one NaN.

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
    def description(self) -> str:
        """Say that nothing here is real."""
        return "fake engine"

    @property
    def runtime(self) -> str:
        """It is no real one."""
        return "fake"

    def run(self, images: Pixels, *, alone: bool = False) -> tuple[Float, Float]:  # noqa: ARG002  it is instant anyway
        """(B, H, W, 3) uint8 -> (B, C) logits, (B, K) head cosine."""
        self.running.release()
        self.gate.wait()
        self.batches.append(len(images))
        if self.failure is not None:
            raise self.failure
        return self.spoil(self.logits(images)), self.head_cosine(images)

    def logits(self, images: Pixels) -> Float:
        """(B, C) what `run` answers when it does not lie."""
        sums = images.reshape(len(images), -1).sum(axis=1, dtype=np.int64)
        logits: Float = (np.outer(sums, np.arange(1, self.num_classes + 1)) % 97 / 8).astype(np.float32)
        return logits

    def head_cosine(self, images: Pixels) -> Float:
        """(B, K) likewise."""
        sums = images.reshape(len(images), -1).sum(axis=1, dtype=np.int64)
        cosine: Float = ((sums[:, None] + np.arange(self.num_heads)) % 10 / 10).astype(np.float32)
        return cosine
