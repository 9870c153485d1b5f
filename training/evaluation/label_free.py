"""The label-free α, 1 / mean head cosine: an average training image loses exactly the effect of the head direction."""

from models.objective import ALPHA_RANGE

__all__ = ["MIN_MEAN_COSINE", "label_free_alpha"]

MIN_MEAN_COSINE = 1.0 / ALPHA_RANGE[1]  # below it, the label-free alpha exceeds every alpha that is ever chosen


def label_free_alpha(mean_cosine: float) -> float | None:
    """Return the label-free α for a mean head cosine of the training set, or None if it is not defined.

    >>> label_free_alpha(0.8), label_free_alpha(0.01), label_free_alpha(-0.2)
    (1.25, None, None)
    """
    return None if mean_cosine < MIN_MEAN_COSINE else 1.0 / mean_cosine
