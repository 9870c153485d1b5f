"""The evaluation protocol: the same figures at four α, of which one is chosen and scored on different images.

    zero          α = 0, the plain classifier
    label_free    1 / mean head cosine of the training set; needs no labelled images
    cross_fitted  chosen on one half of the labelled images, scored on the other, both ways, averaged: what to expect
    hindsight     the best α on the images it is scored on: an upper bound, not a result

α is chosen for balanced accuracy (mean per-class recall), exactly (`models/optimum.py`). With an exempt class it is
chosen on the pictures of the other classes, among the other classes, where TDE is affine in α; the figures are those of
all pictures and classes, the exempt one as it is served. A class without pictures counts in no figure.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.accuracy import AccuracyCurve, LabelledIntervals
from models.metrics import per_class_recall, recall_figures, summarise
from models.objective import Constraint, Objective
from models.optimum import optimum
from models.scores import Scores
from models.tuning import halves
from training.errors import DataError

__all__ = [
    "balanced_alpha",
    "evaluate_scores",
    "figures_at",
    "figures_at_alphas",
    "group_curves",
    "sampled_curves",
    "tail_alpha",
]


def evaluate_scores(scores: Scores, label_free: float) -> dict[str, dict[str, Any]]:
    """Return the protocol: its four names, each with `alpha` and every figure of `models.metrics.summarise`.

    Raises:
        DataError: there are too few pictures to choose on one half and score on the other.

    """
    images = scores.among_others().labelled_intervals()
    return {
        "zero": figures_at(scores, 0.0),
        "label_free": figures_at(scores, label_free),
        "cross_fitted": _cross_fitted(scores, images),
        "hindsight": figures_at(scores, balanced_alpha(images)),
    }


def figures_at(scores: Scores, alpha: float) -> dict[str, Any]:
    """Return every figure at one α, and `alpha` itself."""
    predicted, confidence = scores.top_1(alpha)
    recall = per_class_recall(predicted, scores.labels, len(scores.groups))
    return {
        "alpha": alpha,
        **summarise(predicted, confidence, scores.labels, scores.groups),
        "per_class_recall": [None if np.isnan(value) else value for value in recall.tolist()],
    }


def balanced_alpha(images: LabelledIntervals) -> float:
    """Return the α with the best balanced accuracy: the middle of the best interval."""
    return optimum(images, Objective("balanced")).alpha


def tail_alpha(images: LabelledIntervals) -> float:
    """Return the α with the best accuracy on the rarest group there is, among those no worse overall than α = 0."""
    rarest = next(group for group in ("few", "medium", "many") if group in images.figures)
    plain = Constraint("overall", float(images.curve("overall").at(0.0)))
    return optimum(images, Objective(rarest, (plain,))).alpha


def group_curves(images: LabelledIntervals) -> dict[str, AccuracyCurve]:
    """Return accuracy against α, exactly: `overall`, and each group that has classes (mean per-class recall)."""
    return {name: images.curve(name) for name in ("overall", "many", "medium", "few") if name in images.figures}


def figures_at_alphas(scores: Scores, alphas: NDArray[np.float64]) -> dict[str, list[float]]:
    """Return accuracies at given α, one by one: `overall`, `balanced`, and each group that has pictures.

    For an exempt class, whose probabilities are not affine in α; else `LabelledIntervals.curve` has all α at once.
    """
    figures: dict[str, list[float]] = {}
    for alpha in alphas:
        predicted, _ = scores.top_1(float(alpha))
        at = {"overall": float(np.mean(predicted == scores.labels))}
        at |= recall_figures(per_class_recall(predicted, scores.labels, len(scores.groups)), scores.groups)
        for name in ("overall", "balanced", "many", "medium", "few"):
            if at[name] is not None:
                figures.setdefault(name, []).append(at[name])
    return figures


def sampled_curves(scores: Scores, alphas: NDArray[np.float64]) -> dict[str, AccuracyCurve]:
    """Return what `group_curves` does, as steps between ascending α: for drawing where a class is exempt."""
    return {
        name: AccuracyCurve((alphas[1:] + alphas[:-1]) / 2.0, np.array(values))
        for name, values in figures_at_alphas(scores, alphas).items()
        if name != "balanced"
    }


def _cross_fitted(scores: Scores, images: LabelledIntervals) -> dict[str, Any]:
    first = halves(scores.labels)
    to_choose_on = np.ones(len(scores), bool) if scores.exempt_class is None else scores.labels != scores.exempt_class
    if not ((first & to_choose_on).any() and (~first & to_choose_on).any()):
        raise DataError(
            f"{len(scores)} test pictures are too few to choose alpha on one half and score it on the other"
        )
    one, other = (
        figures_at(scores.part(~chosen), balanced_alpha(images.part(chosen[to_choose_on])))
        for chosen in (first, ~first)
    )
    average: dict[str, Any] = {name: _mean(one[name], other[name]) for name in one if name != "per_class_recall"}
    average["alphas"] = [one["alpha"], other["alpha"]]
    average["per_class_recall"] = list(map(_mean, one["per_class_recall"], other["per_class_recall"]))
    return average


def _mean(one: float | None, other: float | None) -> float | None:
    """Return the mean; None where a half has no such figure."""
    return None if one is None or other is None else (one + other) / 2.0
