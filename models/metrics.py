"""The evaluation protocol's figures, from predictions and labels. Fractions of 1.

A class without images has no recall and counts nowhere; a group without such a class is None, not 0.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["expected_calibration_error", "per_class_recall", "recall_figures", "summarise"]

Float = NDArray[np.floating[Any]]
Int = NDArray[np.int64]


def per_class_recall(predicted: Int, labels: Int, num_classes: int) -> NDArray[np.float64]:
    """Return (C,) the share of each class's images that were recognised; NaN for a class without images."""
    hits = np.bincount(labels[predicted == labels], minlength=num_classes)
    with np.errstate(invalid="ignore"):
        recall: NDArray[np.float64] = hits / np.bincount(labels, minlength=num_classes)
    return recall


def recall_figures(recall: NDArray[np.float64], groups: Sequence[str]) -> dict[str, float | None]:
    """Return the figures that per-class recall decides: the groups, and the means over all classes.

    Args:
        recall: (C,) NaN for a class without images; at least one class has some.
        groups: C times `many`, `medium` or `few`.

    """
    measured = ~np.isnan(recall)
    named = np.asarray(groups)
    figures: dict[str, float | None] = {}
    for group in ("many", "medium", "few"):
        mine = measured & (named == group)
        figures[group] = float(recall[mine].mean()) if mine.any() else None
    values = recall[measured]
    with np.errstate(divide="ignore"):
        return figures | {
            "balanced": float(values.mean()),
            "harmonic": float(1.0 / np.mean(1.0 / values)),
            "geometric": float(np.exp(np.mean(np.log(values)))),
            "worst_class": float(values.min()),
        }


def summarise(predicted: Int, confidence: Float, labels: Int, groups: Sequence[str]) -> dict[str, float | None]:
    """Return every figure of the protocol for one alpha.

    Args:
        predicted: (N,) the top class.
        confidence: (N,) its probability.
        labels: (N,) true classes; N is at least 1.
        groups: C times `many`, `medium` or `few`.

    """
    num_classes = len(groups)
    recall = per_class_recall(predicted, labels, num_classes)
    images = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels[predicted == labels], minlength=num_classes)
    f1 = 2.0 * hits / np.maximum(images + np.bincount(predicted, minlength=num_classes), 1)
    return {
        "overall": float(np.mean(predicted == labels)),
        **recall_figures(recall, groups),
        "macro_f1": float(f1[images > 0].mean()),
        "ece": expected_calibration_error(predicted, confidence, labels),
    }


def expected_calibration_error(predicted: Int, confidence: Float, labels: Int, bins: int = 15) -> float:
    """Return Σ_bins (n_bin / N)·|accuracy − confidence| over equal bins of the top-1 confidence (Guo et al. 2017)."""
    confident = confidence.astype(np.float64)
    which = np.minimum((confident * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(which, weights=(predicted == labels) - confident, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
