"""What happens to one image along alpha, exactly: no grid, no second forward pass.

TDE logits are affine in alpha, `logits − α·slope`, so along alpha each class is a line and the winner is the upper
envelope of C lines. Hence a class wins on at most one interval, and a labelled image is right for alpha in one interval
[lo, hi]: two numbers, all that choosing alpha needs (`accuracy.py`).

    label y beats class j    ⇔  l_y − α s_y ≥ l_j − α s_j  ⇔  α (s_y − s_j) ≤ l_y − l_j

Post-hoc logit adjustment (logits − t·log prior; Menon et al., ICLR 2021, arXiv:2007.07314) is affine in its t too:
give log priors as the slope. Shapes: N images, C classes.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PathStep", "alpha_path", "top_k_intervals", "winning_intervals"]

Float = NDArray[np.floating[Any]]
Float64 = NDArray[np.float64]

_CHUNK_ELEMENTS = 1 << 15  # N x C is worked through in pieces that stay in a core's cache: 3 times as fast


def winning_intervals(logits: Float, slope: Float, labels: NDArray[np.integer[Any]]) -> Float64:
    """Return for each image the alphas at which its label is the top class of `logits − alpha·slope`.

    Args:
        logits: (N, C) at alpha 0.
        slope: (N, C) what alpha = 1 takes out, `tde.head_effect`; (C,) if it is the same for all images.
        labels: (N,) class indices.

    Returns:
        (N, 2) float64 [lo, hi], -inf or +inf where unbounded. Both are (nan, nan) where the label never wins, also
        where it only touches the winners at a single alpha. At lo and hi themselves the label ties with its neighbour;
        a class tied with another along all of alpha counts only if its index is the lower, as in argmax.

    Raises:
        ValueError: the shapes disagree, a label is not a class, or a number is not finite.

    >>> winning_intervals(np.array([[4.0, 1.0]] * 2), np.array([[3.0, 0.0]] * 2), np.array([0, 1])).tolist()
    [[-inf, 1.0], [1.0, inf]]

    """
    _check(logits, slope, labels)
    num_images, num_classes = logits.shape
    rises = np.broadcast_to(slope, logits.shape)
    intervals = np.empty((num_images, 2))
    step = max(1, _CHUNK_ELEMENTS // max(1, num_classes))
    work = np.empty((3, step, num_classes))  # one piece for all chunks: fresh memory costs more than the arithmetic
    for start in range(0, num_images, step):
        rows = slice(start, start + step)
        intervals[rows] = _intervals(logits[rows], rises[rows], labels[rows], work)
    return intervals


@dataclass(frozen=True, slots=True)
class PathStep:
    """One stretch of alpha and the class that wins on it; -inf and +inf where unbounded."""

    low: float
    high: float
    class_index: int


def alpha_path(logits: Float, slope: Float, low: float = -np.inf, high: float = np.inf) -> list[PathStep]:
    """Return which class wins where along alpha, for one image: the upper envelope of C lines, in O(C log C).

    Args:
        logits: (C,) at alpha 0.
        slope: (C,) what alpha = 1 takes out, one row of `tde.head_effect`.
        low: where the path begins.
        high: where it ends.

    Returns:
        Steps in ascending order, without gaps, from low to high. At the alpha between two steps their classes tie.
        Of classes that tie along all of alpha the one of lowest index is named; a class that only touches the winners
        at a single alpha is not. No class has two steps.

    Raises:
        ValueError: the shapes disagree, there are no classes, a number is not finite, or low is not below high.

    >>> alpha_path(np.array([4.0, 1.0]), np.array([3.0, 0.0]))
    [PathStep(low=-inf, high=1.0, class_index=0), PathStep(low=1.0, high=inf, class_index=1)]

    """
    if logits.ndim != 1 or logits.shape != slope.shape or not len(logits):
        raise ValueError(f"logits {logits.shape} and slope {slope.shape}; (C,) and (C,) fit")
    if not (np.isfinite(logits).all() and np.isfinite(slope).all()):
        raise ValueError("logits or slopes are not finite")
    if not low < high:
        raise ValueError(f"a path from {low} to {high} has no length; give the lower one first")
    lines = list(zip(logits.astype(np.float64).tolist(), slope.astype(np.float64).tolist(), strict=True))
    steepest_first = np.lexsort((np.arange(len(lines)), -logits, -slope)).tolist()
    winners = [steepest_first[0]]
    starts = [-math.inf]
    for index in steepest_first[1:]:
        logit, rise = lines[index]
        begin = -math.inf
        while winners:
            top_logit, top_rise = lines[winners[-1]]
            begin = (top_logit - logit) / (top_rise - rise) if top_rise > rise else math.inf
            if begin > starts[-1]:
                break
            winners.pop()
            starts.pop()
        if begin < math.inf:  # else it is parallel and lower, or so nearly that no alpha is large enough
            starts.append(begin if winners else -math.inf)
            winners.append(index)
    ends = [*starts[1:], math.inf]
    inside = zip(winners, starts, ends, strict=True)
    return [PathStep(max(a, low), min(b, high), index) for index, a, b in inside if max(a, low) < min(b, high)]


def top_k_intervals(logits: Float, slope: Float, labels: NDArray[np.integer[Any]], k: int) -> list[Float64]:
    """Return for each image the alphas at which its label is among the k highest classes, as a union of intervals.

    Args:
        logits: (N, C) at alpha 0.
        slope: (N, C).
        labels: (N,) class indices.
        k: 1 or more; 1 gives `winning_intervals`, C or more gives everything.

    Returns:
        N arrays (M, 2), ascending and disjoint; M = 0 where the label never gets there. Ties as in `winning_intervals`.

    Raises:
        ValueError: as `winning_intervals`, or k is below 1.

    >>> top_k_intervals(np.array([[0.0, 0.0, 1.0]]), np.array([[0.0, -1.0, 1.0]]), np.array([0]), 2)[0].tolist()
    [[-inf, 0.0], [1.0, inf]]

    """
    if k < 1:
        raise ValueError(f"the top {k} classes hold no label; k is 1 or more")
    _check(logits, slope, labels)
    if not (np.isfinite(logits).all() and np.isfinite(slope).all()):
        raise ValueError("logits or slopes are not finite")
    return [
        _top_k_of_one(row.astype(np.float64), rise.astype(np.float64), int(label), k)
        for row, rise, label in zip(logits, np.broadcast_to(slope, logits.shape), labels, strict=True)
    ]


def _intervals(logits: Float, slope: Float, labels: NDArray[np.integer[Any]], work: Float64) -> Float64:
    """`winning_intervals` of one chunk, worked out in the (3, chunk, C) memory given."""
    if not (np.isfinite(logits).all() and np.isfinite(slope).all()):
        raise ValueError("logits or slopes are not finite")
    rows = np.arange(len(labels))
    ahead, faster, edge = work[:, : len(labels)]
    np.subtract(logits[rows, labels].astype(np.float64)[:, None], logits, out=ahead)  # its lead over class j at alpha 0
    np.subtract(slope[rows, labels].astype(np.float64)[:, None], slope, out=faster)  # what a unit of alpha takes off it
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        crossing = np.divide(ahead, faster, out=ahead)  # of parallel lines +inf or -inf: ahead or behind for good
        wall = np.divide(-np.inf, faster, out=faster)  # +inf where the label is ahead above the crossing, else -inf
    image, twin = np.divmod(np.flatnonzero(np.isnan(crossing)), logits.shape[1])  # one line, 0/0; its own among them
    crossing[image, twin] = np.where(twin < labels[image], -np.inf, np.inf)
    low = np.minimum(crossing, wall, out=edge).max(axis=1)
    high = np.maximum(crossing, wall, out=edge).min(axis=1)
    intervals = np.stack([low, high], axis=1)
    intervals[~(low < high)] = np.nan
    return intervals


def _top_k_of_one(logits: Float64, slope: Float64, label: int, k: int) -> Float64:
    """Count the classes that beat the label from -inf upwards; each of them does so on one half of alpha."""
    ahead = logits[label] - logits
    faster = slope[label] - slope
    is_lower_index = np.arange(len(logits)) < label
    always = int(((faster == 0) & ((ahead < 0) | ((ahead == 0) & is_lower_index))).sum())
    moving = faster != 0
    with np.errstate(over="ignore"):
        crossing = ahead[moving] / faster[moving]
    change = np.sign(faster[moving]).astype(np.int64)  # falls faster: beaten after the crossing; else before it
    alphas, position = np.unique(crossing, return_inverse=True)
    changes = np.bincount(position, change, minlength=len(alphas)).astype(np.int64)
    beaten_by = always + int((change < 0).sum()) + np.concatenate([[0], np.cumsum(changes)])
    inside = np.concatenate([[False], beaten_by < k, [False]])
    edges = np.concatenate([[-np.inf], alphas, [np.inf]])
    begins = np.flatnonzero(inside[1:] & ~inside[:-1])
    ends = np.flatnonzero(inside[:-1] & ~inside[1:])
    union = np.stack([edges[begins], edges[ends]], axis=1)
    return union[union[:, 0] < union[:, 1]]


def _check(logits: Float, slope: Float, labels: NDArray[np.integer[Any]]) -> None:
    if logits.ndim != 2 or slope.shape not in {logits.shape, logits.shape[1:]} or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits {logits.shape}, slope {slope.shape}, labels {labels.shape}; (N, C), (N, C), (N,) fit")
    if len(labels) and not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise ValueError(f"labels run from {labels.min()} to {labels.max()} but there are {logits.shape[1]} classes")
