"""Tables of figures for the terminal: which figures they show, and how a number is written."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

__all__ = [
    "ADJUSTMENT_HINT",
    "ALL_FIGURES",
    "MAIN_FIGURES",
    "NO_FIGURE",
    "heading",
    "methods_table",
    "percent",
    "percent_sign",
]

ALL_FIGURES = (
    "overall", "many", "medium", "few", "balanced", "harmonic", "geometric", "worst_class", "macro_f1", "ece"
)  # fmt: skip
MAIN_FIGURES = ("overall", "balanced", "many", "medium", "few", "worst_class")
ADJUSTMENT_HINT = "The service offers logit adjustment at strength 1: classify with alpha=0&prior=uniform."
NO_FIGURE = "–"  # of a group without images
FIRST_COLUMN_WIDTH = 19
COLUMN_WIDTH = 7


def heading(figure: str) -> str:
    """Return the name of a figure as a table shows it.

    >>> heading("worst_class")
    'worst class'
    """
    return figure.replace("_", " ")


def percent(share: float | None) -> str:
    """Return a fraction of 1 in percent, without the sign.

    >>> percent(0.8408), percent(None)
    ('84.08', '–')
    """
    return NO_FIGURE if share is None else f"{100 * share:.2f}"


def percent_sign(share: float | None) -> str:
    """Return a fraction of 1 in percent, with the sign.

    >>> percent_sign(0.8408), percent_sign(None)
    ('84.08%', '–')
    """
    return NO_FIGURE if share is None else f"{share:.2%}"


def methods_table(title: str, rows: Iterable[Sequence[str]]) -> Table:
    """Return a table of one method a row, narrow enough for a terminal of 80 columns.

    Args:
        title: the text above the table.
        rows: the name of the method, its knob, and a cell for each of `MAIN_FIGURES`.

    """
    table = Table(title=escape(title), title_justify="left", title_style="bold", box=SIMPLE, padding=(0, 0))
    table.add_column("", min_width=FIRST_COLUMN_WIDTH)
    for name in ("knob", *map(heading, MAIN_FIGURES)):
        table.add_column(name.replace(" ", "\n"), justify="right", min_width=COLUMN_WIDTH)
    for row in rows:
        table.add_row(*row)
    return table
