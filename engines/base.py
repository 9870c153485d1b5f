"""What the service asks of whatever runs a network."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle

__all__ = ["DeviceError", "Engine", "EngineError", "EngineFactory", "Float", "Pixels"]

Pixels = NDArray[np.uint8]
Float = NDArray[np.floating[Any]]


class EngineError(Exception):
    """A bundle's graph cannot be run here; the sentence says why and what would help."""


class DeviceError(EngineError):
    """What is to compute is not there, or not as asked for; no other bundle would run either."""


class Engine(Protocol):
    """One model, ready to run; safe to call from several threads at once."""

    @property
    def description(self) -> str:
        """What computes and where, in a few words."""

    @property
    def runtime(self) -> str:
        """What computes: `onnxruntime`, `openvino` or `fake`."""

    def run(self, images: Pixels, *, alone: bool = False) -> tuple[Float, Float]:
        """(B, H, W, 3) uint8 RGB -> (B, C) logits at alpha 0, (B, K) head cosine; row i belongs to image i.

        Args:
            images: the batch.
            alone: nothing else is to be computed, nor was for a while, so it may take several cores; the answer is the
                same, up to rounding.

        """


EngineFactory = Callable[[Bundle], Engine]
