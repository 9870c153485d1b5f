"""What a person sees of a tuning: the figures before and after, what to expect, the rival beside it, and the curve."""

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from models.scores import Scores
from training.evaluation.evaluation_protocol import group_curves
from training.evaluation.terminal_curve import terminal_curve

__all__ = ["print_report"]

FIGURES = ("overall", "many", "medium", "few", "balanced", "harmonic", "geometric", "worst_class", "macro_f1", "ece")
MAX_LISTED = 10


def print_report(console: Console, report: dict[str, Any], scores: Scores, class_names: list[str]) -> None:
    """Print the whole report."""
    _print_left_out(console, report, scores, class_names)
    console.print(_table(report))
    low, high = report["interval"]
    surely = report["confidence_interval"]
    console.print(
        f"alpha {report['alpha']:.4f}: the middle of the best interval, {low:.4f} to {high:.4f}; another sample of as "
        + (
            f"many images would choose between {surely[0]:.3f} and {surely[1]:.3f} (95 % bootstrap interval)"
            if surely
            else "many images may choose quite differently: how sure it is cannot be said from these"
        )
    )
    _print_expectation(console, report)
    alpha = report["alpha"]
    console.print(
        terminal_curve(group_curves(scores.labelled_intervals()), alpha, min(-1.0, alpha - 1.0), max(3.0, alpha + 1.0))
    )


def _print_left_out(console: Console, report: dict[str, Any], scores: Scores, class_names: list[str]) -> None:
    """Say aloud what counts in no figure."""
    images = np.bincount(scores.labels, minlength=len(class_names))
    if absent := [name for name, count in zip(class_names, images, strict=True) if not count]:
        console.print(
            f"{len(absent)} of the model's {len(class_names)} classes have no images here and count in no figure: "
            f"{_listing(absent)}",
            style="yellow",
        )
    if unreadable := report["unreadable"]:
        of = len(scores) + len(unreadable)
        console.print(f"{len(unreadable)} of {of:,} images cannot be read and are left out:", style="yellow")
        for each in unreadable[:MAX_LISTED]:
            console.print(f"  {each['name']}: {each['error']['message']}", markup=False, soft_wrap=True)
        if len(unreadable) > MAX_LISTED:
            console.print(f"  and {len(unreadable) - MAX_LISTED} more, all in the --json report")


def _table(report: dict[str, Any]) -> Table:
    chosen_for = " and ".join([f"best {report['objective'].replace('_', ' ')}", *report["constraints"]])
    what = f"{report['model']} version {report['version']}, {report['images']:,} images of {report['data']}"
    table = Table(title=f"{what}: {chosen_for}", title_justify="left")
    table.add_column("")
    columns: list[tuple[str, dict[str, Any] | None]] = [
        ("before\nalpha 0", {"alpha": 0.0} | report["before"]),
        ("alpha\nbest", {"alpha": report["alpha"]} | report["after"]),
        ("alpha\ngain", report["gain"]),
        ("alpha\nexpect", report["cross_fitted"]),
    ]
    if rival := report["logit_adjustment"]:
        fitted = rival["cross_fitted"]
        columns += [
            ("logit adj.\nbest", {"alpha": rival["strength"]} | rival["after"]),
            ("logit adj.\nexpect", fitted and fitted | {"alpha": fitted["strength"]}),
        ]
    for name, _ in columns:
        table.add_column(name, justify="right")
    table.add_row("chosen", *(_number(figures, "alpha") for _, figures in columns), end_section=True)
    for figure in FIGURES:
        cells = (_points(figures, figure) if "gain" in name else _share(figures, figure) for name, figures in columns)
        table.add_row(figure.replace("_", " "), *cells)
    return table


def _print_expectation(console: Console, report: dict[str, Any]) -> None:
    """Say in one line what the choice is worth, the rival included, also where the rival is better."""
    objective = report["objective"]
    fitted = report["cross_fitted"]
    rival = report["logit_adjustment"]
    if fitted is None:
        console.print('Too few images for "expect": a half of them cannot choose alpha.', style="yellow")
        return
    console.print(
        '"best" was chosen on the images it is scored on. "expect" was chosen on one half of them and scored on the '
        "other, both ways: compare methods there.",
        style="dim",
    )
    line = (
        f"To expect: {objective.replace('_', ' ')} {fitted[objective]:.2%} instead of {report['before'][objective]:.2%}"
    )
    if rival is None or rival["cross_fitted"] is None:
        console.print(
            f"{line}. Logit adjustment: a class has no training images, or no strength meets the constraints."
        )
        return
    other = rival["cross_fitted"][objective]
    console.print(f"{line}; post-hoc logit adjustment gives {other:.2%}.", style="bold")
    if other > fitted[objective]:
        console.print("The service has it too, at strength 1: classify with alpha=0&prior=uniform.")


def _number(figures: dict[str, Any] | None, name: str) -> str:
    value = (figures or {}).get(name)
    return "" if value is None else f"{value:.3f}"


def _share(figures: dict[str, Any] | None, name: str) -> str:
    value = (figures or {}).get(name)
    return "–" if value is None else f"{value:.2%}"


def _points(figures: dict[str, Any] | None, name: str) -> str:
    value = (figures or {}).get(name)
    return "–" if value is None else f"{100 * value:+.2f}"


def _listing(names: list[str]) -> str:
    return ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")
