"""Compare the trained head with its baselines, in one table: post-hoc logit adjustment, and a plain linear head.

All methods are scored on the same pictures, from the same features, by the evaluation protocol. A knob (α, or the
strength of logit adjustment) is tuned on one half of the pictures and scored on the other, both ways.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from models.scores import Scores
from training.evaluation.evaluation_protocol import evaluate_scores
from training.evaluation.figure_tables import ADJUSTMENT_HINT, MAIN_FIGURES, methods_table, percent

__all__ = ["Method", "print_methods", "scored_methods"]

ADJUSTED = "logit adjustment"


@dataclass(frozen=True)
class Method:
    """One way to classify, scored.

    Attributes:
        name: the head, and what was done to its logits.
        knob: α, or the strength of logit adjustment; None if the method has no knob.
        figures: the figures of the evaluation protocol, as fractions; None for a group without pictures.

    """

    name: str
    knob: float | None
    figures: dict[str, Any]


def scored_methods(
    scores: Scores, label_free: float | None, linear_logits: NDArray[np.float32], class_counts: NDArray[np.int64]
) -> list[Method]:
    """Return every method with its figures.

    Args:
        scores: the scores of the de-confounded head along α.
        label_free: the label-free α, or None if it is not defined.
        linear_logits: (N, C) logits of the plain linear head for the same pictures.
        class_counts: (C,) training pictures of each class, all above 0.

    Raises:
        DataError: there are too few pictures to choose on one half and score on the other.

    """
    protocol = evaluate_scores(scores, label_free or 0.0)
    adjusted = evaluate_scores(scores.logit_adjustment(class_counts), 1.0)
    linear = replace(scores, logits=linear_logits).logit_adjustment(class_counts)
    linear_protocol = evaluate_scores(linear, 1.0)
    methods = [Method("α = 0", 0.0, protocol["zero"])]
    if label_free is not None:
        methods.append(Method("label-free α", label_free, protocol["label_free"]))
    return [
        *methods,
        _cross_fitted("tuned α", protocol),
        _cross_fitted(ADJUSTED, adjusted),
        Method("linear head", None, linear_protocol["zero"]),
        _cross_fitted("linear, logit adj.", linear_protocol),
    ]


def _cross_fitted(name: str, protocol: dict[str, dict[str, Any]]) -> Method:
    return Method(name, protocol["cross_fitted"]["alpha"], protocol["cross_fitted"])


def print_methods(console: Console, methods: list[Method], source: str, images: int, linear: str) -> None:
    """Print the table, and name the best method, even if it is a baseline.

    Args:
        console: the console to print on.
        methods: the result of `scored_methods`.
        source: the name of the pictures that were scored.
        images: how many pictures were scored.
        linear: how the linear head was trained.

    """
    title = f"{images:,} images of {source}, in percent, from the same features"
    rows = (
        (
            method.name,
            "" if method.knob is None else f"{method.knob:.3f}",
            *(percent(method.figures[figure]) for figure in MAIN_FIGURES),
        )
        for method in methods
    )
    console.print(methods_table(title, rows))
    console.print(
        "knob: α, or the strength of logit adjustment. Tuned α and logit adjustment were chosen for balanced accuracy "
        "on one half of the images and scored on the other, both ways: this is what to expect on new images. "
        f"The linear head was trained for {linear}, whatever the learning rate and weight decay of the other head.",
        style="dim",
    )
    best = max(methods, key=lambda method: method.figures["balanced"])
    console.print(f"Best balanced accuracy here: {percent(best.figures['balanced'])} %, {best.name}.", style="bold")
    if best.name == ADJUSTED:
        console.print(ADJUSTMENT_HINT)
