"""The evaluation protocol's figures, from probabilities and labels. Fractions of 1; a group without classes is None."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["expected_calibration_error", "per_class_recall", "summarise"]


def per_class_recall(
    predicted: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], num_classes: int
) -> npt.NDArray[np.float64]:
    """Return (C,) the share of each class's images that were recognised; every class must occur in `labels`."""
    hits = np.bincount(labels[predicted == labels], minlength=num_classes)
    return hits / np.bincount(labels, minlength=num_classes)


def summarise(
    probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.int64], groups: Sequence[str]
) -> dict[str, float | None]:
    """Return every figure of the protocol for one α.

    Args:
        probabilities: (N, C), rows sum to 1.
        labels: (N,) true classes; each of the C classes occurs.
        groups: C times `many`, `medium` or `few`.
    """
    num_classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    recall = per_class_recall(predicted, labels, num_classes)
    named = np.asarray(groups)
    figures: dict[str, float | None] = {"overall": float(np.mean(predicted == labels))}
    for group in ("many", "medium", "few"):
        figures[group] = float(recall[named == group].mean()) if (named == group).any() else None
    with np.errstate(divide="ignore"):
        figures |= {
            "balanced": float(recall.mean()),
            "harmonic": float(1.0 / np.mean(1.0 / recall)),
            "geometric": float(np.exp(np.mean(np.log(recall)))),
            "worst_class": float(recall.min()),
        }
    precision = (
        recall
        * np.bincount(labels, minlength=num_classes)
        / np.maximum(np.bincount(predicted, minlength=num_classes), 1)
    )
    f1 = 2.0 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).tiny)
    figures |= {"macro_f1": float(f1.mean()), "ece": expected_calibration_error(probabilities, labels)}
    return figures


def expected_calibration_error(
    probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.int64], bins: int = 15
) -> float:
    """Return Σ_bins (n_bin / N)·|accuracy − confidence| over equal bins of the top-1 confidence (Guo et al. 2017)."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(which, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
