"""What the fit came to, in one table: the head at several α, its strongest rival, and a plain linear head.

All are scored on the same pictures, from the same features, by the evaluation protocol: where
a knob was turned (α, the strength of post-hoc logit adjustment), it was turned on one half of the pictures and scored
on the other, both ways.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from models.scores import Scores
from training.evaluation.evaluation_protocol import evaluate_scores

__all__ = ["Column", "columns_of", "print_comparison"]

FIGURES = ("overall", "balanced", "many", "medium", "few", "worst_class")
ADJUSTED = "logit adjustment"


@dataclass(frozen=True)
class Column:
    """One way to classify.

    Attributes:
        name: which head, and what was done to its logits.
        knob: α, or the strength of logit adjustment; None where there is none to turn.
        figures: of the evaluation protocol, as fractions; None for a group without pictures.

    """

    name: str
    knob: float | None
    figures: dict[str, Any]


def columns_of(
    scores: Scores, label_free: float | None, linear_logits: NDArray[np.float32], class_counts: NDArray[np.int64]
) -> list[Column]:
    """Return every way, scored.

    Args:
        scores: the de-confounded head's, along α.
        label_free: that α, or None where it is not defined.
        linear_logits: (N, C) of the plain linear head on the same pictures.
        class_counts: (C,) training pictures, all above 0.

    Raises:
        DataError: there are too few pictures to choose on one half and score on the other.

    """
    protocol = evaluate_scores(scores, label_free or 0.0)
    adjusted = evaluate_scores(scores.logit_adjustment(class_counts), 1.0)
    linear = replace(scores, logits=linear_logits).logit_adjustment(class_counts)
    linear_protocol = evaluate_scores(linear, 1.0)
    columns = [Column("α = 0", 0.0, protocol["zero"])]
    if label_free is not None:
        columns.append(Column("label-free α", label_free, protocol["label_free"]))
    return [
        *columns,
        _fitted("tuned α", protocol),
        _fitted(ADJUSTED, adjusted),
        Column("linear head", None, linear_protocol["zero"]),
        _fitted("linear, logit adj.", linear_protocol),
    ]


def _fitted(name: str, protocol: dict[str, dict[str, Any]]) -> Column:
    return Column(name, protocol["cross_fitted"]["alpha"], protocol["cross_fitted"])


def print_comparison(console: Console, columns: list[Column], source: str, images: int, linear: str) -> None:
    """Print the table, and what it says in one sentence, also where a rival is better.

    Args:
        console: to print on.
        columns: as of `compare`.
        source: what was scored.
        images: how many images were scored.
        linear: how the linear head was trained.

    """
    title = f"{images:,} images of {source}, in percent, from the same features"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 0))
    for number, name in enumerate(("", "knob", *(name.replace("_", "\n") for name in FIGURES))):
        table.add_column(name, justify="right" if number else "left", min_width=7 if number else 19)
    for column in columns:
        knob = "" if column.knob is None else f"{column.knob:.3f}"
        table.add_row(column.name, knob, *(_share(column.figures, name) for name in FIGURES))
    console.print(table)
    console.print(
        "knob: α, or the strength of logit adjustment. Tuned α and logit adjustment were chosen for balanced accuracy "
        "on one half of the images and scored on the other, both ways: that is what to expect. "
        f"The linear head was trained for {linear}: its own, whatever the other head was given.",
        style="dim",
    )
    best = max(columns, key=lambda column: column.figures["balanced"])
    console.print(f"Best balanced accuracy here: {_share(best.figures, 'balanced')} %, {best.name}.", style="bold")
    if best.name == ADJUSTED:
        console.print("The service has it too, at strength 1: classify with alpha=0&prior=uniform.")


def _share(figures: dict[str, Any], name: str) -> str:
    value = figures[name]
    return "–" if value is None else f"{100 * value:.2f}"
