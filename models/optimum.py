"""The exact best alpha of labelled images, and how sure it is.

Nothing here is searched on a grid. The objective and every constraint are step functions of alpha (`accuracy.py`), so
the best stretch of alpha is read off. Shapes: N labelled images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.accuracy import AccuracyCurve, LabelledIntervals
from models.errors import InfeasibleError
from models.objective import Objective

__all__ = ["DIGITS", "Optimum", "confidence_interval", "go_on", "optimum"]

RESAMPLES = 200
MIN_RESAMPLES = 40
MAX_DRAWN = 20_000_000
CONFIDENCE = 0.95
MIN_IMAGES = 5  # of a class, for a bootstrap to say anything
DIGITS = 12  # of a figure that people read; a sum of a million images is right to 13
_SAME = 1e-9  # values closer than this differ by rounding only


def go_on() -> None:
    """Let long work go on; what may be given in its place can raise, and so end it."""


@dataclass(frozen=True, slots=True)
class Optimum:
    """The best stretch [low, high] of alpha, the alpha in its middle, and the objective's value there."""

    alpha: float
    low: float
    high: float
    value: float


def optimum(images: LabelledIntervals, objective: Objective, repeats: NDArray[np.int64] | None = None) -> Optimum:
    """Return the alpha at which the objective is highest among those that meet every constraint. Exact.

    The whole best stretch is found and its middle taken; of several equally good stretches, the one whose middle is
    nearest to 0, the plain classifier.

    Args:
        images: where along alpha each image is right.
        objective: what to choose for.
        repeats: (N,) how often each image counts, in a bootstrap sample.

    Raises:
        InfeasibleError: no alpha in the range meets the constraints.
        TuningError: there is no image, or none of a group that is asked for.

    """
    best = _optimum(images, objective, repeats)
    if best is None:
        raise InfeasibleError(_infeasible(images, objective))
    return best


def _optimum(images: LabelledIntervals, objective: Objective, repeats: NDArray[np.int64] | None) -> Optimum | None:
    first_inside = np.searchsorted(images.breakpoints, objective.low, side="right")
    first_beyond = max(first_inside, np.searchsorted(images.breakpoints, objective.high, side="left"))
    inside = images.breakpoints[first_inside:first_beyond]
    begins = np.concatenate([[objective.low], inside])
    ends = np.concatenate([inside, [objective.high]])
    in_range = slice(first_inside, first_beyond + 1)
    values = images.steps(objective.figure, repeats)[in_range]
    allowed = np.ones(len(begins), dtype=bool)
    for rule in objective.constraints:
        allowed &= images.steps(rule.figure, repeats)[in_range] >= rule.at_least - _SAME
    if not allowed.any():
        return None
    best = allowed & (values >= values[allowed].max() - _SAME)
    first = np.flatnonzero(best & ~np.concatenate([[False], best[:-1]]))
    last = np.flatnonzero(best & ~np.concatenate([best[1:], [False]]))
    middles = (begins[first] + ends[last]) / 2.0
    middles = np.where(middles < ends[last], middles, begins[first])  # two adjacent floats have no middle
    chosen = np.abs(middles).argmin()
    low = begins[first[chosen]]
    high = ends[last[chosen]]
    value = values[first[chosen]]
    return Optimum(float(middles[chosen]), float(low), float(high), round(float(value), DIGITS))


def confidence_interval(
    images: LabelledIntervals, objective: Objective, *, seed: int = 0, check: Callable[[], None] = go_on
) -> tuple[float, float] | None:
    """Return the 95 % percentile bootstrap interval of the optimal alpha.

    Images are drawn with replacement within each class, so that every class keeps its size: 200 samples, or fewer if
    those would exceed 20 million images. A sample in which no alpha meets the constraints has no optimum and is left
    out; if that happens in half of the samples, there is no interval.

    Args:
        images: where along alpha each image is right.
        objective: what to choose for.
        seed: of the drawing.
        check: called before every sample; an exception it raises stops the work.

    Returns:
        The interval; None if fewer than half of the samples have an optimum, or a class has only 1 to 4 images: with so
        few, resampling would underestimate the spread.

    Raises:
        TuningError: as `optimum`, on all images.

    """
    optimum(images, objective)
    if images.class_images[images.class_images > 0].min() < MIN_IMAGES:
        return None
    rng = np.random.default_rng(seed)
    alphas = []
    resamples = min(RESAMPLES, max(MIN_RESAMPLES, MAX_DRAWN // max(1, len(images))))
    by_class = images.part(np.argsort(images.labels, kind="stable"))
    size = images.class_images[by_class.labels]
    start = (np.cumsum(images.class_images) - images.class_images)[by_class.labels]
    for _ in range(resamples):
        check()
        position = rng.random(len(images))
        position *= size
        drawn = position.astype(np.int64)
        drawn += start
        resampled = _optimum(by_class, objective, np.bincount(drawn, minlength=len(images)))
        if resampled is not None:
            alphas.append(resampled.alpha)
    if 2 * len(alphas) < resamples:
        return None
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(alphas, [tail, 1.0 - tail])
    return float(low), float(high)


def _infeasible(images: LabelledIntervals, objective: Objective) -> str:
    """Say what each constraint could reach alone, so that the reader knows which one to give up."""
    rules = " and ".join(map(str, objective.constraints))
    reach = []
    for rule in objective.constraints:
        curve: AccuracyCurve = images.curve(rule.figure)
        inside = curve.breakpoints[(curve.breakpoints > objective.low) & (curve.breakpoints < objective.high)]
        reach.append(f"{rule.figure} reaches {curve.at(np.append(inside, objective.low)).max():.4g}")
    return f"no alpha in {objective.low:g}..{objective.high:g} gives {rules}; alone, {' and '.join(reach)}"
