"""What the network computes for a picture, before alpha is applied."""

from typing import NamedTuple

import numpy as np

from engines.base import Float

__all__ = ["NetworkOutput"]


class NetworkOutput(NamedTuple):
    """The network's output for one picture or, with a leading batch axis, for a batch of B.

    Args:
        logits: (C,) or (B, C) at alpha 0.
        head_cosine: (K,) or (B, K).

    """

    logits: Float
    head_cosine: Float

    @property
    def is_finite(self) -> bool:
        """Whether every value is finite."""
        return bool(np.isfinite(self.logits).all() and np.isfinite(self.head_cosine).all())
