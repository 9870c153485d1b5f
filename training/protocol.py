"""The evaluation protocol: the same figures at four α, of which one is chosen and scored on different images.

    zero          α = 0, the plain classifier
    label_free    1 / mean head cosine of the training set; needs no labelled images
    cross_fitted  chosen on one half of the labelled images, scored on the other, both ways, averaged: what to expect
    hindsight     the best α on the images it is scored on: an upper bound, not a result

α is chosen for balanced accuracy (mean per-class recall), exactly (`models/optimum.py`).
"""

from typing import Any

import numpy as np

from models.accuracy import AccuracyCurve, LabelledIntervals
from models.metrics import per_class_recall, summarise
from models.objective import Constraint, Objective
from models.optimum import optimum
from models.scores import Scores
from models.tuning import halves

__all__ = ["balanced_alpha", "evaluate_scores", "group_curves", "tail_alpha"]


def evaluate_scores(scores: Scores, label_free: float) -> dict[str, dict[str, Any]]:
    """Return the protocol: its four names, each with `alpha` and every figure of `models.metrics.summarise`."""
    images = scores.labelled_intervals()
    return {
        "zero": _at(scores, 0.0),
        "label_free": _at(scores, label_free),
        "cross_fitted": _cross_fitted(scores, images),
        "hindsight": _at(scores, balanced_alpha(images)),
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


def _cross_fitted(scores: Scores, images: LabelledIntervals) -> dict[str, Any]:
    first = halves(scores.labels)
    both = [_at(scores.part(~chosen), balanced_alpha(images.part(chosen))) for chosen in (first, ~first)]
    average: dict[str, Any] = {
        name: None if both[0][name] is None else float(np.mean([figures[name] for figures in both]))
        for name in both[0]
        if name != "per_class_recall"
    }
    average["alphas"] = [figures["alpha"] for figures in both]
    average["per_class_recall"] = np.mean([figures["per_class_recall"] for figures in both], axis=0).tolist()
    return average


def _at(scores: Scores, alpha: float) -> dict[str, Any]:
    predicted, confidence = scores.top_1(alpha)
    recall = per_class_recall(predicted, scores.labels, len(scores.groups))
    return {
        "alpha": alpha,
        **summarise(predicted, confidence, scores.labels, scores.groups),
        "per_class_recall": recall.tolist(),
    }
