"""The evaluation protocol: the same figures at four α.

    zero          α = 0, the plain classifier
    label_free    1 / mean head cosine of the training set; needs no labelled images
    cross_fitted  chosen on one half of the labelled images, scored on the other, both ways, averaged: what to expect
    hindsight     the best α on the images it is scored on: an upper bound, not a result

α is chosen for balanced accuracy (mean per-class recall), exactly (`models/optimum.py`). With an exempt class, α is
chosen on the images of the other classes and among those classes, because only there TDE is affine in α. The figures
still cover all images and classes, as the service answers. A class without images counts in no figure.
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
    "mean_of_halves",
    "sampled_curves",
    "tail_alpha",
]


def evaluate_scores(scores: Scores, label_free: float) -> dict[str, dict[str, Any]]:
    """Return the protocol: for each of its four names, `alpha` and every figure of `models.metrics.summarise`.

    Args:
        scores: the labelled images.
        label_free: the label-free α.

    Raises:
        DataError: there are too few images to choose α on one half and score it on the other.

    """
    images = scores.among_others().labelled_intervals()
    return {
        "zero": figures_at(scores, 0.0),
        "label_free": figures_at(scores, label_free),
        "cross_fitted": _cross_fitted(scores, images),
        "hindsight": figures_at(scores, balanced_alpha(images)),
    }


def figures_at(scores: Scores, alpha: float) -> dict[str, Any]:
    """Return `alpha` and every figure at this α."""
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
    """Return the α that is best for the rarest group with images, among those that are overall no worse than α = 0."""
    rarest = next(group for group in ("few", "medium", "many") if group in images.figures)
    plain = Constraint("overall", float(images.curve("overall").at(0.0)))
    return optimum(images, Objective(rarest, (plain,))).alpha


def group_curves(images: LabelledIntervals) -> dict[str, AccuracyCurve]:
    """Return the exact accuracy along α: `overall`, and the mean per-class recall of each group that has images."""
    return {name: images.curve(name) for name in ("overall", "many", "medium", "few") if name in images.figures}


def figures_at_alphas(scores: Scores, alphas: NDArray[np.float64]) -> dict[str, list[float]]:
    """Return the accuracies at each of these α: `overall`, `balanced`, and each group that has images.

    Needed if a class is exempt, because its probabilities are not affine in α. Otherwise `LabelledIntervals.curve`
    gives all α at once.
    """
    figures: dict[str, list[float]] = {}
    for alpha in alphas:
        predicted, _ = scores.top_1(float(alpha))
        recall = per_class_recall(predicted, scores.labels, len(scores.groups))
        at_alpha = recall_figures(recall, scores.groups) | {"overall": float(np.mean(predicted == scores.labels))}
        for name in ("overall", "balanced", "many", "medium", "few"):
            value = at_alpha[name]
            if value is not None:
                figures.setdefault(name, []).append(value)
    return figures


def sampled_curves(scores: Scores, alphas: NDArray[np.float64]) -> dict[str, AccuracyCurve]:
    """Return what `group_curves` returns, as steps between these ascending α: for plots if a class is exempt."""
    return {
        name: AccuracyCurve((alphas[1:] + alphas[:-1]) / 2.0, np.array(values))
        for name, values in figures_at_alphas(scores, alphas).items()
        if name != "balanced"
    }


def _cross_fitted(scores: Scores, images: LabelledIntervals) -> dict[str, Any]:
    first = halves(scores.labels)
    to_choose_on = np.ones(len(scores), bool) if scores.exempt_class is None else scores.labels != scores.exempt_class
    if not ((first & to_choose_on).any() and (~first & to_choose_on).any()):
        raise DataError(f"{len(scores)} test images are too few to choose alpha on one half and score it on the other")
    one, other = (
        figures_at(scores.part(~chosen), balanced_alpha(images.part(chosen[to_choose_on])))
        for chosen in (first, ~first)
    )
    average: dict[str, Any] = {
        name: mean_of_halves(one[name], other[name]) for name in one if name != "per_class_recall"
    }
    average["alphas"] = [one["alpha"], other["alpha"]]
    average["per_class_recall"] = list(map(mean_of_halves, one["per_class_recall"], other["per_class_recall"]))
    return average


def mean_of_halves(one: float | None, other: float | None) -> float | None:
    """Return the mean of a figure over both halves, or None if one half lacks the figure."""
    return None if one is None or other is None else (one + other) / 2.0
