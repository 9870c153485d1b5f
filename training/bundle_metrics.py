"""What a bundle keeps of its evaluation: the protocol, the curve to draw, and the calibration the service needs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.scores import Scores
from models.tuning import curve_points
from training.calibration import fit_calibration

__all__ = ["bundle_metrics"]

NOTE = "alpha is chosen for balanced accuracy; cross_fitted is what to expect, hindsight an upper bound"
CURVE_LOW, CURVE_HIGH, CURVE_POINTS = -2.0, 5.0, 71
CURVE_FIGURES = ("overall", "balanced", "many", "medium", "few")
DIGITS = 4  # of what is drawn or fitted; the protocol's figures keep all of theirs


def bundle_metrics(
    scores: Scores, protocol: dict[str, dict[str, Any]], class_counts: NDArray[np.integer[Any]], data: str
) -> dict[str, Any]:
    """Return `metrics` of the manifest (models/README.md has its keys).

    Args:
        scores: the labelled images; their classes all have some.
        protocol: as of `training.protocol.evaluate_scores`.
        class_counts: (C,) training images; where a class has none there is no prior to calibrate for.
        data: the name of what was scored.
    """
    points = curve_points(scores.labelled_intervals(), low=CURVE_LOW, high=CURVE_HIGH, points=CURVE_POINTS)
    figures = {name: _rounded(points["figures"][name]) for name in CURVE_FIGURES if name in points["figures"]}
    metrics: dict[str, Any] = {
        "protocol": protocol,
        "images": len(scores),
        "data": data,
        "note": NOTE,
        "curve": {"alphas": _rounded(points["alphas"]), "figures": figures},
    }
    if (class_counts > 0).all():
        fitted = fit_calibration(scores.logits, scores.labels, class_counts)
        metrics["calibration"] = {
            "temperature": float(f"{fitted.temperature:.{DIGITS}g}"),
            "bias": _rounded(fitted.bias.tolist()),
            "images": len(scores),
            "data": data,
        }
    return metrics


def _rounded(values: list[float]) -> list[float]:
    return [round(value, DIGITS) + 0.0 for value in values]  # + 0.0: no -0.0
