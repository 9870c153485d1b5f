"""The evaluation protocol: the same figures at four α, of which one is chosen and scored on different images.

    zero          α = 0, the plain classifier
    label_free    1 / mean head cosine of the training set; needs no labelled images
    cross_fitted  chosen on one half of the labelled images, scored on the other, both ways, averaged: what to expect
    hindsight     the best α on the images it is scored on: an upper bound, not a result

α is chosen for balanced accuracy (mean per-class recall), exactly: the middle of the best interval of its step
function (`models/alpha_path.py`), no grid.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from models.alpha_path import AccuracyCurve, accuracy_curve, best_interval
from training.metrics import per_class_recall, summarise
from training.scoring import Scores

__all__ = ["ALPHA_RANGE", "balanced_alpha", "evaluate_scores", "group_curves", "halves", "tail_alpha"]

ALPHA_RANGE = (-8.0, 8.0)  # where α is looked for; beyond it the head effect outweighs what the picture shows
SPLIT_SEED = 0


def evaluate_scores(scores: Scores, label_free: float) -> dict[str, dict[str, Any]]:
    """Return the protocol: its four names, each with `alpha` and every figure of `training.metrics.summarise`."""
    return {
        "zero": _at(scores, 0.0),
        "label_free": _at(scores, label_free),
        "cross_fitted": _cross_fitted(scores),
        "hindsight": _at(scores, balanced_alpha(scores)),
    }


def balanced_alpha(scores: Scores) -> float:
    """Return the α with the best balanced accuracy: the middle of the best interval."""
    low, high, _ = best_interval(accuracy_curve(scores.intervals(), _balanced_weights(scores)), *ALPHA_RANGE)
    return (low + high) / 2.0


def tail_alpha(scores: Scores) -> float:
    """Return the α with the best accuracy on the rarest group there is, among those no worse overall than α = 0."""
    curves = group_curves(scores)
    rarest = next(group for group in ("few", "medium", "many") if group in curves)
    edges = np.unique(np.concatenate([ALPHA_RANGE, curves[rarest].breakpoints, curves["overall"].breakpoints]))
    edges = edges[(edges >= ALPHA_RANGE[0]) & (edges <= ALPHA_RANGE[1])]
    middles = (edges[:-1] + edges[1:]) / 2.0
    allowed = middles[curves["overall"].at(middles) >= curves["overall"].at(0.0)]
    values = curves[rarest].at(allowed)
    best = allowed[values >= values.max() - 1e-9]
    return float(best[np.abs(best).argmin()])


def group_curves(scores: Scores) -> dict[str, AccuracyCurve]:
    """Return accuracy against α, exactly: `overall`, and each group that has classes (mean per-class recall)."""
    intervals = scores.intervals()
    curves = {"overall": accuracy_curve(intervals, np.full(len(scores.labels), 1.0 / len(scores.labels)))}
    weights, group_of_class = _balanced_weights(scores), np.asarray(scores.groups)
    for group in ("many", "medium", "few"):
        share = (group_of_class == group).mean()
        if share:
            inside = group_of_class[scores.labels] == group
            curves[group] = accuracy_curve(intervals[inside], weights[inside] / share)
    return curves


def halves(labels: npt.NDArray[np.int64], seed: int = SPLIT_SEED) -> npt.NDArray[np.bool_]:
    """Return (N,) which half each image is in; every class is split evenly, at random."""
    generator = np.random.default_rng(seed)
    first = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        mine = generator.permutation(np.flatnonzero(labels == label))
        first[mine[: len(mine) // 2]] = True
    return first


def _cross_fitted(scores: Scores) -> dict[str, Any]:
    first = halves(scores.labels)
    pairs = [(scores.part(chosen), scores.part(~chosen)) for chosen in (first, ~first)]
    both = [_at(scored, balanced_alpha(fitted)) for fitted, scored in pairs]
    average: dict[str, Any] = {
        name: None if both[0][name] is None else float(np.mean([figures[name] for figures in both]))
        for name in both[0]
        if name != "per_class_recall"
    }
    average["alphas"] = [figures["alpha"] for figures in both]
    average["per_class_recall"] = np.mean([figures["per_class_recall"] for figures in both], axis=0).tolist()
    return average


def _at(scores: Scores, alpha: float) -> dict[str, Any]:
    probabilities = scores.probabilities(alpha)
    recall = per_class_recall(probabilities.argmax(axis=1), scores.labels, probabilities.shape[1])
    return {
        "alpha": alpha,
        **summarise(probabilities, scores.labels, scores.groups),
        "per_class_recall": recall.tolist(),
    }


def _balanced_weights(scores: Scores) -> npt.NDArray[np.float64]:
    counts = np.bincount(scores.labels, minlength=len(scores.groups))
    return 1.0 / (np.count_nonzero(counts) * counts[scores.labels])
