"""Plot the accuracy of many, medium and few classes against α, as exact steps."""

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from models.accuracy import AccuracyCurve
from training.errors import TrainingError

__all__ = ["check_format", "plot_curves"]

COLOURS = {"many": "#4477aa", "medium": "#ccaa22", "few": "#cc3344", "overall": "#333333"}  # safe for colour blindness
FORMATS = ("svg", "png", "pdf")


def plot_curves(
    curves: dict[str, AccuracyCurve],
    class_counts: dict[str, int],
    marks: dict[str, float],
    title: str,
    file_format: str = "svg",
) -> bytes:
    """Return the plot as a file. The same arguments give the same bytes.

    Args:
        curves: the result of `training.evaluation.evaluation_protocol.group_curves`.
        class_counts: group -> number of its classes, for the legend.
        marks: name -> α, drawn as vertical lines.
        title: the text above the plot.
        file_format: svg, png or pdf.

    """
    low = min(-0.5, *marks.values()) - 0.25
    high = max(2.0, *marks.values()) + 1.0
    alphas = np.linspace(low, high, 1200)
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for name in ("many", "medium", "few", "overall"):
        if name in curves:
            label = "all classes" if name == "overall" else f"{name} ({class_counts[name]} classes)"
            style: dict[str, Any] = {"linestyle": "--"} if name == "overall" else {"linewidth": 2.2}
            axes.plot(alphas, 100 * curves[name].at(alphas), label=label, color=COLOURS[name], **style)
    for level, (name, alpha) in enumerate(sorted(marks.items(), key=lambda item: item[1])):
        axes.axvline(alpha, color="#888888", linewidth=0.8, linestyle=":")
        axes.annotate(
            f"{name}  α = {alpha:.2f}",
            (alpha, 0.02 + 0.07 * (level % 3)),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            fontsize=8,
            color="#555555",
        )
    axes.set(
        xlabel="α: how much of the preference for frequent classes is taken out", ylabel="accuracy, %", title=title
    )
    axes.set_xlim(low, high)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(loc="upper right", fontsize=8)
    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "longtail", "svg.fonttype": "none"}):
        figure.savefig(file, format=file_format, dpi=150, metadata={"Date": None} if file_format == "svg" else None)
    return file.getvalue()


def check_format(path: Path) -> str:
    """Return the format that a plot's file name asks for.

    Raises:
        TrainingError: the name does not end in .svg, .png or .pdf.

    """
    file_format = path.suffix.lower().removeprefix(".")
    if file_format not in FORMATS:
        raise TrainingError(f"--plot {path}: the name must end in .svg, .png or .pdf")
    return file_format
