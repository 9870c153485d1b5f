"""Choose alpha and report the consequences; for the command line and the service.

The report holds, beside the optimum, what keeps the choice honest: a confidence interval, cross-fitted figures (alpha
chosen on one half of the images and scored on the other, both ways), and post-hoc logit adjustment at its own best
strength, tuned by the same code. Shapes: N labelled images, C classes. Figures are fractions of 1.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.accuracy import LabelledIntervals
from models.errors import InfeasibleError, TuningError
from models.metrics import recall_figures, summarise
from models.objective import Objective
from models.optimum import DIGITS, confidence_interval, go_on, optimum
from models.scores import Scores

__all__ = ["cross_fitted", "curve_points", "figures_at", "halves", "tune", "tune_intervals"]

SPLIT_SEED = 0
CURVE_RANGE = (-2.0, 5.0)
CURVE_POINTS = 201
Figures = dict[str, float | None]


def halves(labels: NDArray[np.int64], seed: int = SPLIT_SEED) -> NDArray[np.bool_]:
    """Return (N,) which half each image is in: classes are split evenly at random, odd images go to either in turn."""
    generator = np.random.default_rng(seed)
    first = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        mine = generator.permutation(np.flatnonzero(labels == label))
        first[mine[: (len(mine) + int(label) % 2) // 2]] = True
    return first


def cross_fitted(images: LabelledIntervals, objective: Objective) -> dict[str, Any] | None:
    """Return what to expect: alpha chosen on one half of the images, scored on the other, both ways, averaged.

    Returns:
        The figures of `figures_at` with `alpha` (the mean) and `alphas` (both); None where a half cannot choose, as it
        has no image, none of a class that is asked for, or no alpha that meets the constraints.

    """
    first = halves(images.labels)
    if first.all() or not first.any():
        return None
    alphas: list[float] = []
    scored: list[Figures] = []
    for chosen in (first, ~first):
        try:
            alphas.append(optimum(images.part(chosen), objective).alpha)
        except TuningError:
            return None
        scored.append(figures_at(images.part(~chosen), alphas[-1]))
    average = {name: _mean(value, scored[1][name]) for name, value in scored[0].items()}
    return {"alpha": _mean(*alphas), **average, "alphas": alphas}


def figures_at(images: LabelledIntervals, alpha: float) -> Figures:
    """Return every figure that intervals decide, at one alpha; None for a group without images."""
    recall = images.recall_at(alpha)
    counted = images.class_images > 0
    hits = recall[counted] @ images.class_images[counted]
    return {"overall": float(hits / len(images))} | recall_figures(recall, images.groups)


def curve_points(
    images: LabelledIntervals, *, low: float, high: float, points: int = CURVE_POINTS, also: tuple[float, ...] = ()
) -> dict[str, Any]:
    """Return the exact curves read at evenly spaced alphas, for drawing: {"alphas": [...], "figures": {name: [...]}}.

    0 and the alphas in `also` are among them where the range holds them. Figures that these images do not have are
    absent.
    """
    spaced = np.round(np.linspace(low, high, points), 12).clip(low, high)
    alphas = np.unique([*spaced, *(alpha for alpha in (0.0, *also) if low <= alpha <= high)])
    figures = {name: images.curve(name).at(alphas).round(DIGITS).tolist() for name in images.figures}
    return {"alphas": alphas.tolist(), "figures": figures}


def tune_intervals(
    images: LabelledIntervals, objective: Objective, check: Callable[[], None] = go_on
) -> dict[str, Any]:
    """Return the part of `tune`'s report that follows from intervals alone, as for labels from production feedback.

    `check` is called now and then; an exception it raises stops the work.

    Raises:
        InfeasibleError: no alpha in the range meets the constraints.
        TuningError: there is no image, or none of a group that is asked for.

    """
    best = optimum(images, objective)
    surely = confidence_interval(images, objective, check=check)
    before = figures_at(images, 0.0)
    after = figures_at(images, best.alpha)
    return {
        "objective": objective.figure,
        "constraints": [str(constraint) for constraint in objective.constraints],
        "alpha": best.alpha,
        "interval": [best.low, best.high],
        "value": best.value,
        "confidence_interval": surely and list(surely),
        "before": before,
        "after": after,
        "gain": _gain(before, after),
        "cross_fitted": cross_fitted(images, objective),
        "curve": _curve_around(images, objective, best.alpha),
        "logit_adjustment": None,
        "images": len(images),
        "classes_without_images": int((images.class_images == 0).sum()),
    }


def _curve_around(images: LabelledIntervals, objective: Objective, alpha: float) -> dict[str, Any]:
    """Draw where people look, and where the chosen alpha lies."""
    low = min(CURVE_RANGE[0], alpha - 1.0)
    high = max(CURVE_RANGE[1], alpha + 1.0)
    return curve_points(images, low=max(low, objective.low), high=min(high, objective.high), also=(alpha,))


def tune(
    scores: Scores, class_counts: NDArray[np.int64], objective: Objective, check: Callable[[], None] = go_on
) -> dict[str, Any]:
    """Choose alpha on labelled images, and the strength of post-hoc logit adjustment for comparison.

    Args:
        scores: the images along alpha.
        class_counts: (C,) training images of each class, for logit adjustment.
        objective: what to choose for; both knobs are searched in its range.
        check: called now and then; an exception it raises stops the work.

    Returns:
        A report JSON can hold: `alpha`, `interval`, `value`, `confidence_interval`, `before` (alpha 0) and `after` with
        every figure of the protocol, `gain`, `cross_fitted`, `curve`, `images`, and `logit_adjustment` with `strength`
        in place of `alpha`; that is None if a class has no training images, or no strength meets the constraints.

    Raises:
        InfeasibleError: no alpha in the range meets the constraints.
        TuningError: a class is exempt, there is no image, or none of a group that is asked for.

    """
    report = tune_intervals(scores.labelled_intervals(), objective, check)
    before = _protocol_figures(scores, 0.0)
    after = _protocol_figures(scores, report["alpha"])
    return report | {
        "before": before,
        "after": after,
        "gain": _gain(before, after),
        "logit_adjustment": _tune_logit_adjustment(scores, class_counts, objective, before),
    }


def _tune_logit_adjustment(
    scores: Scores, class_counts: NDArray[np.int64], objective: Objective, before: Figures
) -> dict[str, Any] | None:
    if (class_counts < 1).any():
        return None
    adjusted = scores.logit_adjustment(class_counts)
    images = adjusted.labelled_intervals()
    try:
        best = optimum(images, objective)
    except InfeasibleError:
        return None
    after = _protocol_figures(adjusted, best.alpha)
    fitted = cross_fitted(images, objective)
    if fitted is not None:
        fitted["strength"] = fitted.pop("alpha")
        fitted["strengths"] = fitted.pop("alphas")
    return {
        "strength": best.alpha,
        "interval": [best.low, best.high],
        "value": best.value,
        "after": after,
        "gain": _gain(before, after),
        "cross_fitted": fitted,
    }


def _protocol_figures(scores: Scores, knob: float) -> Figures:
    return summarise(*scores.top_1(knob), scores.labels, scores.groups)


def _gain(before: Figures, after: Figures) -> Figures:
    pairs = {name: (value, after[name]) for name, value in before.items()}
    return {name: None if old is None or new is None else new - old for name, (old, new) in pairs.items()}


def _mean(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else (one + other) / 2.0
