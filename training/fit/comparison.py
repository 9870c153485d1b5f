"""What the fit came to, in one table: the head at several α, its strongest rival, and a plain linear head.

All are scored on the same pictures, from the same features. Where a knob was turned (α, the strength of post-hoc logit
adjustment), it was turned on one half of the pictures and scored on the other, both ways.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models.objective import Objective
from models.scores import Scores
from models.tuning import cross_fitted, figures_at

__all__ = ["Column", "compare", "print_comparison"]

FIGURES = ("overall", "balanced", "many", "medium", "few", "worst_class")
_OBJECTIVE = Objective("balanced")
_ALONE = "plain"


@dataclass(frozen=True)
class Column:
    """One way to classify.

    Attributes:
        head: `de-confounded` or `linear`.
        how: what was done to its logits.
        knob: α, or the strength of logit adjustment; None where there is none to turn.
        figures: fractions of 1, None for a group without pictures; None where too few pictures can choose the knob.
    """

    head: str
    how: str
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
    head, plain = "de-confounded", "linear"
    columns = [Column(head, "α = 0", 0.0, figures_at(images, 0.0))]
    if label_free is not None:
        columns.append(Column(head, "label-free α", label_free, figures_at(images, label_free)))
    columns += [
        _fitted(head, "tuned α", images),
        _fitted(head, "logit adjustment", adjusted),
        Column(plain, _ALONE, None, figures_at(linear_adjusted, 0.0)),
        _fitted(plain, "logit adjustment", linear_adjusted),
    ]
    return columns


def _fitted(head: str, how: str, images: Any) -> Column:
    fitted = cross_fitted(images, _OBJECTIVE)
    return Column(head, how, fitted["alpha"] if fitted else None, fitted)


def print_comparison(console: Console, columns: list[Column], source: str, images: int) -> None:
    """Print the table, and what it says in one sentence, also where a rival is better."""
    table = Table(title=f"{images:,} images of {source}, in percent, from the same features", title_justify="left")
    for title in ("head", "logits", "α or\nstrength", *(name.replace("_", "\n") for name in FIGURES)):
        table.add_column(title, justify="left" if title in {"head", "logits"} else "right")
    before = columns[0].head
    for column in columns:
        if column.head != before:
            table.add_section()
        shares = (_share(column.figures, name) for name in FIGURES)
        table.add_row(column.head, column.how, "" if column.knob is None else f"{column.knob:.3f}", *shares)
        before = column.head
    console.print(table)
    if any(column.figures is None for column in columns):
        console.print("Too few images to tune on one half and score on the other.", style="yellow")
        return
    console.print(
        "Tuned α and logit adjustment: chosen for balanced accuracy on one half of the images, scored on the other, "
        "both ways. That is what to expect.",
        style="dim",
    )
    ranked = sorted(columns, key=lambda column: -column.figures["balanced"] if column.figures else 0.0)
    best = ranked[0]
    console.print(
        f"Best balanced accuracy here: {_share(best.figures, 'balanced')} %, {best.head} head, {best.how}.",
        style="bold",
    )
    if best.how == "logit adjustment" and best.head == columns[0].head:
        console.print("The service has it too, at strength 1: classify with alpha=0&prior=uniform.")


def _share(figures: dict[str, Any] | None, name: str) -> str:
    value = (figures or {}).get(name)
    return "–" if value is None else f"{100 * value:.2f}"
