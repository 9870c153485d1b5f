"""What the fit came to, in one table: the head at several α, its strongest rival, and a plain linear head.

All are scored on the same pictures, from the same features. Where a knob was turned (α, the strength of post-hoc logit
adjustment), it was turned on one half of the pictures and scored on the other, both ways.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from models.accuracy import LabelledIntervals
from models.objective import Objective
from models.scores import Scores
from models.tuning import cross_fitted, figures_at

__all__ = ["Column", "compare", "print_comparison"]

FIGURES = ("overall", "balanced", "many", "medium", "few", "worst_class")
_OBJECTIVE = Objective("balanced")
ADJUSTED = "logit adjustment"


@dataclass(frozen=True)
class Column:
    """One way to classify.

    Attributes:
        name: which head, and what was done to its logits.
        knob: α, or the strength of logit adjustment; None where there is none to turn.
        figures: fractions of 1, None for a group without pictures; None where too few pictures can choose the knob.
    """

    name: str
    knob: float | None
    figures: dict[str, Any] | None


def compare(
    scores: Scores, label_free: float | None, linear_logits: NDArray[np.float32], class_counts: NDArray[np.int64]
) -> list[Column]:
    """Return every way, scored.

    Args:
        scores: the de-confounded head's, along α.
        label_free: that α, or None where it is not defined.
        linear_logits: (N, C) of the plain linear head on the same pictures.
        class_counts: (C,) training pictures, all above 0.
    """
    images = scores.labelled_intervals()
    adjusted = scores.logit_adjustment(class_counts).labelled_intervals()
    linear = Scores(linear_logits, np.zeros_like(linear_logits), scores.labels, scores.groups)
    linear_adjusted = linear.logit_adjustment(class_counts).labelled_intervals()
    columns = [Column("α = 0", 0.0, figures_at(images, 0.0))]
    if label_free is not None:
        columns.append(Column("label-free α", label_free, figures_at(images, label_free)))
    columns += [
        _fitted("tuned α", images),
        _fitted(ADJUSTED, adjusted),
        Column("linear head", None, figures_at(linear_adjusted, 0.0)),
        _fitted("linear, logit adj.", linear_adjusted),
    ]
    return columns


def _fitted(name: str, images: LabelledIntervals) -> Column:
    fitted = cross_fitted(images, _OBJECTIVE)
    return Column(name, fitted["alpha"] if fitted else None, fitted)


def print_comparison(console: Console, columns: list[Column], source: str, images: int) -> None:
    """Print the table, and what it says in one sentence, also where a rival is better."""
    title = f"{images:,} images of {source}, in percent, from the same features"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for title in ("", "knob", *(name.replace("_", "\n") for name in FIGURES)):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for column in columns:
        knob = "" if column.knob is None else f"{column.knob:.3f}"
        table.add_row(column.name, knob, *(_share(column.figures, name) for name in FIGURES))
    console.print(table)
    if any(column.figures is None for column in columns):
        console.print("Too few images to tune on one half and score on the other.", style="yellow")
        return
    console.print(
        "knob: α, or the strength of logit adjustment. Tuned α and logit adjustment were chosen for balanced accuracy "
        "on one half of the images and scored on the other, both ways: that is what to expect.",
        style="dim",
    )
    ranked = sorted(columns, key=lambda column: -column.figures["balanced"] if column.figures else 0.0)
    best = ranked[0]
    console.print(
        f"Best balanced accuracy here: {_share(best.figures, 'balanced')} %, {best.name}.",
        style="bold",
    )
    if best.name == ADJUSTED:
        console.print("The service has it too, at strength 1: classify with alpha=0&prior=uniform.")


def _share(figures: dict[str, Any] | None, name: str) -> str:
    value = (figures or {}).get(name)
    return "–" if value is None else f"{100 * value:.2f}"
