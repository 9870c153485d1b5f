"""The `metrics` of a bundle's manifest: the protocol's figures, the curve, and the calibration the service needs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.manifest import ClassInfo
from models.scores import Scores
from models.sentences import first_few
from models.tuning import curve_points
from training.evaluation.calibration import fit_calibration
from training.evaluation.evaluation_protocol import figures_at_alphas

__all__ = ["CURVE_ALPHAS", "classes_without_images", "manifest_metrics"]

NOTE = "alpha is chosen for balanced accuracy; cross_fitted is what to expect, hindsight an upper bound"
NOTE_EXEMPT = (
    "alpha is chosen for balanced accuracy among the classes that are not exempt; cross_fitted is what to expect, "
    "hindsight was chosen on the images it is scored on"
)
CURVE_LOW = -2.0
CURVE_HIGH = 5.0
CURVE_POINTS = 71
CURVE_ALPHAS = np.round(np.linspace(CURVE_LOW, CURVE_HIGH, CURVE_POINTS), 12)
CURVE_FIGURES = ("overall", "balanced", "many", "medium", "few")
DIGITS = 4  # of the curve and the calibration; the protocol's figures keep all digits


def manifest_metrics(
    scores: Scores,
    protocol: dict[str, dict[str, Any]],
    classes: Sequence[ClassInfo],
    data: str,
    arguments: str,
) -> dict[str, Any]:
    """Return the manifest's `metrics` (docs/reference/bundle-format.md lists its keys).

    There is no calibration if a class has no training images or no labelled image, because its bias cannot be fitted.

    Args:
        scores: the labelled images.
        protocol: the result of `training.evaluation.evaluation_protocol.evaluate_scores`.
        classes: C classes, with their numbers of training images.
        data: the name of the data that was scored.
        arguments: the command-line arguments that score the same data again.

    """
    if scores.exempt_class is None:
        points = curve_points(scores.labelled_intervals(), low=CURVE_LOW, high=CURVE_HIGH, points=CURVE_POINTS)
    else:
        points = {"alphas": CURVE_ALPHAS.tolist(), "figures": figures_at_alphas(scores, CURVE_ALPHAS)}
    names = [info.name for info in classes]
    absent = classes_without_images(scores, names)
    figures = {name: _rounded(points["figures"][name]) for name in CURVE_FIGURES if name in points["figures"]}
    metrics: dict[str, Any] = {
        "protocol": protocol,
        "images": len(scores),
        "data": data,
        "arguments": arguments,
        "note": "; ".join(filter(None, [NOTE if scores.exempt_class is None else NOTE_EXEMPT, absent])),
        "curve": {"alphas": _rounded(points["alphas"]), "figures": figures},
    }
    class_counts = np.array([info.training_count for info in classes])
    if (class_counts > 0).all() and not absent:
        fitted = fit_calibration(scores.logits, scores.labels, class_counts)
        metrics["calibration"] = {
            "temperature": float(f"{fitted.temperature:.{DIGITS}g}"),
            "bias": _rounded(fitted.bias.tolist()),
            "images": len(scores),
            "data": data,
        }
    return metrics


def classes_without_images(scores: Scores, names: Sequence[str]) -> str:
    """Return a sentence about the classes that have no labelled images, or "" if all have some."""
    absent = [
        name for name, count in zip(names, np.bincount(scores.labels, minlength=len(names)), strict=True) if not count
    ]
    if not absent:
        return ""
    return f"{len(absent)} of {len(names)} classes have no images here and count in no figure: {first_few(absent)}"


def _rounded(values: list[float]) -> list[float]:
    return [round(value, DIGITS) + 0.0 for value in values]  # + 0.0 turns -0.0 into 0.0
