"""What happens along alpha, exactly: no grid, no second forward pass.

TDE logits are affine in alpha, `logits − α·slope`, so along alpha each class is a line and the winner is the upper
envelope of C lines. Hence a class wins on at most one interval, a labelled image is right for alpha in one interval
[lo, hi], and accuracy against alpha over any set of images is a step function made of N intervals. Its optimum is read
off, and a label that comes back from production costs two numbers to keep.

    label y beats class j    ⇔  l_y − α s_y ≥ l_j − α s_j  ⇔  α (s_y − s_j) ≤ l_y − l_j

Post-hoc logit adjustment (logits − t·log prior; Menon et al., ICLR 2021, arXiv:2007.07314) is affine in its t too:
give log priors as the slope. Shapes: N images, C classes, M breakpoints.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["AccuracyCurve", "accuracy_curve", "best_interval", "winning_intervals"]

Float = NDArray[np.floating[Any]]
Float64 = NDArray[np.float64]

_CHUNK_ELEMENTS = 1 << 20  # N x C is worked through in pieces of 8 MB
_SAME = 1e-9  # accuracies closer than this differ by rounding only; one image in 10^8 still counts


def winning_intervals(logits: Float, slope: Float, labels: NDArray[np.integer[Any]]) -> Float64:
    """Return for each image the alphas at which its label is the top class of `logits − alpha·slope`.

    Args:
        logits: (N, C) at alpha 0.
        slope: (N, C) what alpha = 1 takes out, `tde.head_effect`.
        labels: (N,) class indices.

    Returns:
        (N, 2) float64 [lo, hi], -inf or +inf where unbounded. Both are (nan, nan) where the label never wins, also
        where it only touches the winners at a single alpha. At lo and hi themselves the label ties with its neighbour;
        a class tied with another along all of alpha counts only if its index is the lower, as in argmax.

    Raises:
        ValueError: the shapes disagree, a label is no class, or a number is not finite.

    >>> winning_intervals(np.array([[4.0, 1.0]] * 2), np.array([[3.0, 0.0]] * 2), np.array([0, 1])).tolist()
    [[-inf, 1.0], [1.0, inf]]
    """
    if logits.ndim != 2 or logits.shape != slope.shape or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits {logits.shape}, slope {slope.shape}, labels {labels.shape}; (N, C), (N, C), (N,) fit")
    num_images, num_classes = logits.shape
    if num_images and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"labels run from {labels.min()} to {labels.max()} but there are {num_classes} classes")
    intervals = np.empty((num_images, 2))
    step = max(1, _CHUNK_ELEMENTS // max(1, num_classes))
    for start in range(0, num_images, step):
        rows = slice(start, start + step)
        intervals[rows] = _intervals(logits[rows].astype(np.float64), slope[rows].astype(np.float64), labels[rows])
    return intervals


@dataclass(frozen=True, slots=True, eq=False)
class AccuracyCurve:
    """Accuracy as a step function of alpha.

    Args:
        breakpoints: (M,) ascending alphas at which the value changes.
        values: (M + 1,) accuracy between them, from -inf to the first, ..., from the last to +inf.
    """

    breakpoints: Float64
    values: Float64

    def at(self, alpha: float | Float) -> Float64:
        """Return the accuracy at each alpha, in alpha's shape; at a breakpoint, that of the step to its right.

        Raises:
            ValueError: an alpha is NaN.
        """
        alphas = np.asarray(alpha, np.float64)
        if np.isnan(alphas).any():
            raise ValueError("accuracy was asked for at an alpha that is not a number")
        return np.asarray(self.values[np.searchsorted(self.breakpoints, alphas, side="right")])


def accuracy_curve(intervals: Float, weights: Float) -> AccuracyCurve:
    """Return the weighted share of images that are right, at every alpha.

    Args:
        intervals: (N, 2) from `winning_intervals`.
        weights: (N,) what each image counts; 1/N for the overall accuracy, 1/(C·n_c) for the balanced one.

    Raises:
        ValueError: the shapes disagree, or a weight is not finite.

    >>> curve = accuracy_curve(np.array([[-np.inf, 1.0], [0.5, 2.0]]), np.array([0.5, 0.5]))
    >>> curve.breakpoints.tolist(), curve.values.tolist()
    ([0.5, 1.0, 2.0], [0.5, 1.0, 0.5, 0.0])
    """
    if intervals.ndim != 2 or intervals.shape[1] != 2 or weights.shape != intervals.shape[:1]:
        raise ValueError(f"intervals {intervals.shape} and weights {weights.shape}; (N, 2) and (N,) fit")
    if not np.isfinite(weights).all():
        raise ValueError("a weight is not finite")
    winning = ~np.isnan(intervals).any(axis=1)
    low, high = np.asarray(intervals[winning], np.float64).T
    weight = np.asarray(weights[winning], np.float64)
    alphas = np.concatenate([low, high])
    changes = np.concatenate([weight, -weight])
    finite = np.isfinite(alphas)
    breakpoints, index = np.unique(alphas[finite], return_inverse=True)
    steps = np.bincount(index, changes[finite], minlength=len(breakpoints))
    kept = np.abs(steps) > _SAME * weight.max(initial=0.0)  # as many images turn right as wrong: not a change
    values = weight[low == -np.inf].sum() + np.concatenate([[0.0], np.cumsum(steps)])
    return AccuracyCurve(breakpoints[kept], values[np.concatenate([[True], kept])])


def best_interval(curve: AccuracyCurve, low: float, high: float) -> tuple[float, float, float]:
    """Return (lo, hi, value): the stretch of alpha inside [low, high] where the curve is highest.

    Of several equally high ones, the one whose middle is nearest to alpha 0, the plain classifier.

    Raises:
        ValueError: low or high is not finite, or low is above high.

    >>> best_interval(AccuracyCurve(np.array([1.0, 2.0]), np.array([0.5, 0.8, 0.3])), 0.0, 1.5)
    (1.0, 1.5, 0.8)
    """
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise ValueError(f"alpha was to be chosen in [{low}, {high}]; give finite numbers, the lower one first")
    if low == high:
        return float(low), float(high), float(curve.at(low))
    inside = curve.breakpoints[(curve.breakpoints > low) & (curve.breakpoints < high)]
    edges = np.concatenate([[low], inside, [high]])
    values = curve.at(edges[:-1])
    best = np.flatnonzero(values >= values.max() - _SAME)
    middle_size = np.abs(edges[best] + edges[best + 1])
    chosen = best[np.argmin(middle_size)]
    return float(edges[chosen]), float(edges[chosen + 1]), float(values[chosen])


def _intervals(logits: Float64, slope: Float64, labels: NDArray[np.integer[Any]]) -> Float64:
    """`winning_intervals` of one chunk."""
    if not (np.isfinite(logits).all() and np.isfinite(slope).all()):
        raise ValueError("logits or slopes are not finite")
    rows = np.arange(len(labels))
    ahead = logits[rows, labels][:, None] - logits  # how far the label leads class j at alpha 0
    faster = slope[rows, labels][:, None] - slope  # how much of that lead it loses per unit of alpha
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        crossing = ahead / faster
    low = np.where(faster < 0, crossing, -np.inf).max(axis=1)
    high = np.where(faster > 0, crossing, np.inf).min(axis=1)
    is_lower_index = np.arange(logits.shape[1])[None] < labels[:, None]
    parallel_loss = ((faster == 0) & ((ahead < 0) | ((ahead == 0) & is_lower_index))).any(axis=1)
    intervals = np.stack([low, high], axis=1)
    intervals[parallel_loss | ~(low < high)] = np.nan
    return intervals
