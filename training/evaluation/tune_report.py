"""Print the report of `tune`: figures before and after, what to expect, logit adjustment beside it, and the curve."""

from typing import Any

from rich.console import Console
from rich.table import Table

from models.scores import Scores
from training.evaluation.evaluation_protocol import group_curves
from training.evaluation.figure_tables import ADJUSTMENT_HINT, ALL_FIGURES, NO_FIGURE, heading, percent_sign
from training.evaluation.manifest_metrics import classes_without_images
from training.evaluation.terminal_curve import terminal_curve

__all__ = ["print_report"]

MAX_LISTED = 10


def print_report(console: Console, report: dict[str, Any], scores: Scores, class_names: list[str]) -> None:
    """Print the whole report."""
    _print_left_out(console, report, scores, class_names)
    console.print(_table(report))
    low, high = report["interval"]
    confidence = report["confidence_interval"]
    console.print(
        f"alpha {report['alpha']:.4f}: the middle of the best interval, {low:.4f} to {high:.4f}; another sample of as "
        + (
            f"many images would choose between {confidence[0]:.3f} and {confidence[1]:.3f} (95 % bootstrap interval)"
            if confidence
            else "many images may give a very different alpha: these are too few to estimate how different"
        )
    )
    _print_expectation(console, report)
    alpha = report["alpha"]
    console.print(
        terminal_curve(group_curves(scores.labelled_intervals()), alpha, min(-1.0, alpha - 1.0), max(3.0, alpha + 1.0))
    )


def _print_left_out(console: Console, report: dict[str, Any], scores: Scores, class_names: list[str]) -> None:
    """Print which classes count in no figure, and which pictures could not be read."""
    if absent := classes_without_images(scores, class_names):
        console.print(absent, style="yellow", markup=False, soft_wrap=True)
    if unreadable := report["unreadable"]:
        total = len(scores) + len(unreadable)
        console.print(f"{len(unreadable)} of {total:,} pictures cannot be read and are left out:", style="yellow")
        for picture in unreadable[:MAX_LISTED]:
            console.print(f"  {picture['name']}: {picture['error']['message']}", markup=False, soft_wrap=True)
        if len(unreadable) > MAX_LISTED:
            console.print(f"  and {len(unreadable) - MAX_LISTED} more, all in the --json report")


def _table(report: dict[str, Any]) -> Table:
    chosen_for = " and ".join([f"best {heading(report['objective'])}", *report["constraints"]])
    scored = f"{report['model']} version {report['version']}, {report['images']:,} images of {report['data']}"
    table = Table(title=f"{scored}: {chosen_for}", title_justify="left")
    table.add_column("")
    columns: list[tuple[str, dict[str, Any] | None]] = [
        ("before\nalpha 0", {"alpha": 0.0} | report["before"]),
        ("alpha\nbest", {"alpha": report["alpha"]} | report["after"]),
        ("alpha\ngain", report["gain"]),
        ("alpha\nexpect", report["cross_fitted"]),
    ]
    if adjustment := report["logit_adjustment"]:
        fitted = adjustment["cross_fitted"]
        columns += [
            ("logit adj.\nbest", {"alpha": adjustment["strength"]} | adjustment["after"]),
            ("logit adj.\nexpect", fitted and fitted | {"alpha": fitted["strength"]}),
        ]
    for name, _ in columns:
        table.add_column(name, justify="right")
    table.add_row("chosen", *(_number(figures, "alpha") for _, figures in columns), end_section=True)
    for figure in ALL_FIGURES:
        cells = (_gain(figures, figure) if "gain" in name else _share(figures, figure) for name, figures in columns)
        table.add_row(heading(figure), *cells)
    return table


def _print_expectation(console: Console, report: dict[str, Any]) -> None:
    """Print what the chosen α is expected to gain, and what logit adjustment gives, even if that is more."""
    objective = report["objective"]
    expected = report["cross_fitted"]
    adjustment = report["logit_adjustment"]
    if expected is None:
        console.print('Too few images for "expect": half of them are not enough to choose alpha.', style="yellow")
        return
    console.print(
        '"best" was chosen on the images it is scored on. "expect" was chosen on one half of them and scored on the '
        "other, both ways: use it to compare methods.",
        style="dim",
    )
    before = report["before"][objective]
    line = f"Expected {heading(objective)}: {expected[objective]:.2%} instead of {before:.2%}"
    if adjustment is None or adjustment["cross_fitted"] is None:
        console.print(
            f"{line}. Logit adjustment cannot be fitted: a class has no training images, or no strength meets the "
            "constraints."
        )
        return
    adjusted = adjustment["cross_fitted"][objective]
    console.print(f"{line}; post-hoc logit adjustment gives {adjusted:.2%}.", style="bold")
    if adjusted > expected[objective]:
        console.print(ADJUSTMENT_HINT)


def _number(figures: dict[str, Any] | None, name: str) -> str:
    value = (figures or {}).get(name)
    return "" if value is None else f"{value:.3f}"


def _share(figures: dict[str, Any] | None, name: str) -> str:
    return percent_sign((figures or {}).get(name))


def _gain(figures: dict[str, Any] | None, name: str) -> str:
    value = (figures or {}).get(name)
    return NO_FIGURE if value is None else f"{100 * value:+.2f}"
