"""`python -m training evaluate`: a bundle by the evaluation protocol, as table, JSON and picture."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from models import tde
from models.bundle import Bundle, load_bundle
from models.scores import Scores
from training.errors import TrainingError
from training.plot import check_format, curve_picture
from training.protocol import evaluate_scores, group_curves
from training.scoring import load_test_images, run_graph

__all__ = ["evaluate", "picture_of", "protocol_table", "score_bundle"]

FIGURES = ("overall", "many", "medium", "few", "balanced", "harmonic", "geometric", "worst_class", "macro_f1", "ece")


def evaluate(bundle_path: Path, data: Path, json_file: Path | None, plot_file: Path | None) -> dict[str, Any]:
    """Score the bundle on the test split and report; returns what the JSON file holds.

    Raises:
        models.errors.BundleError: the bundle is refused.
        DataError: the test set lacks a class, knows others, or has an unreadable image.
    """
    picture_format = check_format(plot_file) if plot_file else "svg"
    for file in (json_file, plot_file):
        if file is not None and not file.parent.is_dir():
            raise TrainingError(f"{file}: the folder {file.parent} does not exist; make it first")
    bundle = load_bundle(bundle_path)
    scores, source = score_bundle(bundle, data)
    protocol = evaluate_scores(scores, bundle.manifest.operating_points["label_free"].alpha)
    report = {
        "model": bundle.manifest.name,
        "version": bundle.manifest.version,
        "data": source,
        "images": len(scores.labels),
        "classes": [info.name for info in bundle.manifest.classes],
        "protocol": protocol,
    }
    console = Console()
    console.print(
        protocol_table(
            protocol, f"{bundle.manifest.name} version {bundle.manifest.version}, {len(scores.labels):,} images"
        )
    )
    console.print(
        "cross_fitted: alpha chosen on one half, scored on the other, both ways. hindsight: an upper bound.",
        style="dim",
    )
    if json_file:
        json_file.write_text(json.dumps(report, indent=2) + "\n")
        console.print(f"figures written to {json_file}")
    if plot_file:
        plot_file.write_bytes(picture_of(bundle.manifest.name, scores, protocol, picture_format))
        console.print(f"curve written to {plot_file}")
    return report


def score_bundle(bundle: Bundle, data: Path) -> tuple[Scores, str]:
    """Run the bundle's graph over the test split; return the scores and the name of what was scored."""
    manifest = bundle.manifest
    images = load_test_images(data, tuple(info.name for info in manifest.classes), manifest.input)
    logits, cosine = run_graph(bundle.model_path, images)
    groups = tuple(info.group for info in manifest.classes)
    slope = tde.head_effect(cosine, bundle.class_effect)
    scores = Scores(logits, slope, images.labels, groups, manifest.exempt_class)
    return scores, f"{data.name}, test split"


def picture_of(name: str, scores: Scores, protocol: dict[str, dict[str, Any]], file_format: str = "svg") -> bytes:
    """Draw the α curve of these scores with the protocol's α marked."""
    marks = {
        "plain classifier": 0.0,
        "label-free": protocol["label_free"]["alpha"],
        "cross-fitted": protocol["cross_fitted"]["alpha"],
    }
    title = f"{name}: accuracy on {len(scores.labels):,} test images"
    return curve_picture(group_curves(scores.labelled_intervals()), Counter(scores.groups), marks, title, file_format)


def protocol_table(protocol: dict[str, dict[str, Any]], title: str) -> Table:
    """Return the protocol as a table, percentages; a group without classes shows a dash."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in protocol:
        table.add_column(name, justify="right")
    table.add_row("alpha", *(f"{figures['alpha']:.3f}" for figures in protocol.values()))
    for figure in FIGURES:
        row = (figures[figure] for figures in protocol.values())
        table.add_row(figure.replace("_", " "), *("–" if value is None else f"{value:.2%}" for value in row))
    return table
