"""Draw the α curve in a terminal: enough to see where the head pays for the tail, without opening a plot."""

import numpy as np
from rich.text import Text

from models.accuracy import AccuracyCurve

__all__ = ["terminal_curve"]

WIDTH = 65  # in cells
HEIGHT = 11
LABEL_EVERY = 5  # rows between two percentages at the left edge
MARKS = {"overall": ("·", "default"), "many": ("●", "blue"), "medium": ("◆", "yellow"), "few": ("▲", "red")}


def terminal_curve(curves: dict[str, AccuracyCurve], alpha: float, low: float, high: float) -> Text:
    """Draw accuracy against α between `low` and `high`, with a thin vertical line at the chosen α.

    Args:
        curves: the result of `training.evaluation.evaluation_protocol.group_curves`.
        alpha: the chosen α.
        low: the α at the left edge.
        high: the α at the right edge, above `low`.

    """
    alphas = np.linspace(low, high, WIDTH)
    values = {name: 100 * curves[name].at(alphas) for name in MARKS if name in curves}
    bottom = 10 * np.floor(min(line.min() for line in values.values()) / 10)
    top = max(10 * np.ceil(max(line.max() for line in values.values()) / 10), bottom + 10)
    cells = np.full((HEIGHT, WIDTH), " ", dtype=object)
    cells[:, int(np.abs(alphas - alpha).argmin())] = "│"
    for name, line in values.items():
        rows = ((top - line) / (top - bottom) * (HEIGHT - 1)).round().astype(int)
        cells[rows, np.arange(WIDTH)] = name
    text = Text()
    for row in range(HEIGHT):
        label = f"{top - (top - bottom) * row / (HEIGHT - 1):5.0f} % ┤" if row % LABEL_EVERY == 0 else " " * 8 + "│"
        text.append(label, style="dim")
        for cell in cells[row]:
            text.append(*MARKS.get(cell, (cell, "dim")))
        text.append("\n")
    text.append(" " * 8 + "└" + "─" * WIDTH + "\n", style="dim")
    axis = [" "] * (WIDTH + 16)
    for value in (low, alpha, high):
        label = f"{value:.2f}"
        column = int(np.abs(alphas - value).argmin())
        begin = max(0, 9 + column - len(label) // 2)
        if all(character == " " for character in axis[begin : begin + len(label) + 1]):
            axis[begin : begin + len(label)] = label
    text.append("".join(axis).rstrip() + "  α\n", style="dim")
    text.append(" " * 9)
    for name in values:
        symbol, colour = MARKS[name]
        text.append(f"{symbol} ", style=colour).append(f"{'all classes' if name == 'overall' else name}   ")
    return text
