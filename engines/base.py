"""The interface of an engine, which runs a network."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle

__all__ = ["DeviceError", "Engine", "EngineError", "EngineFactory", "Float", "Pixels"]

Pixels = NDArray[np.uint8]
Float = NDArray[np.floating[Any]]


class EngineError(Exception):
    """A bundle's graph cannot be run here; the message says why and what would help."""


class DeviceError(EngineError):
    """The requested device or precision is not available, so no bundle can run."""


class Engine(Protocol):
    """A network that is ready to run; several threads may call it at once."""

    @property
    def description(self) -> str:
        """The runtime, its version and its device, for people."""

    @property
    def runtime(self) -> str:
        """The runtime: `onnxruntime`, `openvino` or `fake`."""

    def run(self, images: Pixels, *, alone: bool = False) -> tuple[Float, Float]:
        """Run the network on a batch.

        Args:
            images: (B, H, W, 3) uint8 RGB.
            alone: whether there is no other work, and has been none for a while, so the batch may use several cores.
                The output is the same, up to rounding.

        Returns:
            (B, C) logits at alpha 0 and (B, K) head cosine; row i belongs to image i.

        """


EngineFactory = Callable[[Bundle], Engine]
