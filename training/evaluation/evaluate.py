"""`python -m training evaluate`: a bundle by the evaluation protocol, as table, JSON and picture."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from models import tde
from models.bundle import Bundle, load_bundle
from models.manifest import Manifest
from models.scores import Scores
from models.update import check_updatable
from training.bundles.bundle_folders import check_is_bundle
from training.bundles.revise_bundle import revise_bundle
from training.data.options import DataOptions
from training.evaluation.curve_plot import check_format, curve_picture
from training.evaluation.evaluation_protocol import evaluate_scores, group_curves, sampled_curves
from training.evaluation.graph_scores import check_same_exempt, load_test_images, run_graph
from training.evaluation.manifest_metrics import CURVE_ALPHAS, bundle_metrics, without_images
from training.output_files import check_output_file, write_together

__all__ = ["evaluate", "picture_of", "protocol_table", "same_figures", "score_bundle"]

FIGURES = ("overall", "many", "medium", "few", "balanced", "harmonic", "geometric", "worst_class", "macro_f1", "ece")
SAME_FIGURE = 1e-5  # one image of 10,000 that changes its class moves the accuracy by ten times that


def evaluate(
    bundle_path: Path, data: DataOptions | Path, json_file: Path | None, plot_file: Path | None, *, save: bool = False
) -> dict[str, Any]:
    """Score the bundle on the test split and report; returns what the JSON file holds.

    Args:
        bundle_path: NAME/VERSION.
        data: whose test part is scored.
        json_file: where the report goes.
        plot_file: where the picture goes.
        save: write the figures, the curve and a calibration into the bundle, in the place of what it holds of them.

    Raises:
        ExportError: the folder is a run, or holds the versions of a model.
        models.errors.BundleError: the bundle is refused, or cannot be written.
        DataError: the test part has a class the bundle does not know, or more unreadable images than allowed.

    """
    picture_format = check_format(plot_file) if plot_file else "svg"
    for file in (json_file, plot_file):
        check_output_file(file)
    check_is_bundle(bundle_path)
    if save:
        check_updatable(bundle_path)
    bundle = load_bundle(bundle_path)
    data = DataOptions.of(data)
    scores, source, note = score_bundle(bundle, data)
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
    _print_figures(console, bundle, scores, protocol, note)
    contents: dict[Path, bytes] = {}
    if json_file:
        contents[json_file] = (json.dumps(report, indent=2) + "\n").encode()
    if plot_file:
        contents[plot_file] = picture_of(bundle.manifest.name, scores, protocol, picture_format)
    with write_together(contents):
        if save:
            console.print(_save(bundle, scores, protocol, source, data.arguments), soft_wrap=True)
    for file in contents:
        console.print(f"wrote {file}", soft_wrap=True)
    return report


def _print_figures(
    console: Console, bundle: Bundle, scores: Scores, protocol: dict[str, dict[str, Any]], note: str
) -> None:
    """Print the table, what was scored, and what counts in no figure."""
    title = f"{bundle.manifest.name} version {bundle.manifest.version}, {len(scores.labels):,} images"
    console.print(protocol_table(protocol, title))
    for sentence in filter(None, [note, without_images(scores, [info.name for info in bundle.manifest.classes])]):
        console.print(sentence, markup=False, soft_wrap=True)
    console.print(
        "cross_fitted: alpha chosen on one half, scored on the other, both ways. hindsight: an upper bound."
        if scores.exempt_class is None
        else "alpha chosen among the classes that are not exempt. cross_fitted: on one half, scored on the other, both "
        "ways. hindsight: on the images it is scored on.",
        style="dim",
    )


def _save(bundle: Bundle, scores: Scores, protocol: dict[str, dict[str, Any]], source: str, arguments: str) -> str:
    """Write the evaluation into the bundle; return the sentence that says so.

    Where the bundle's own figures for these images come out again, they and its picture stay, to the last digit: the
    same graph gives logits that differ in the seventh digit from one processor to the next.
    """
    metrics = bundle_metrics(scores, protocol, bundle.manifest.classes, source, arguments)
    held = bundle.manifest.metrics
    known = all(held.get(key) == metrics[key] for key in ("data", "images")) and same_figures(
        held.get("protocol"), protocol
    )
    if known:
        metrics["protocol"] = held["protocol"]

    def change(manifest: Manifest) -> Manifest:
        return replace(manifest, metrics=manifest.metrics | metrics)

    curve = {} if known else {"curve.svg": picture_of(bundle.manifest.name, scores, protocol)}
    _, refreshed = revise_bundle(bundle, change, curve)
    if known:
        return f"saved curve and calibration in {bundle.path}; its figures came out again and stay"
    card = "its card and picture are new" if refreshed else "its card is not the generated one and stays as it is"
    return f"saved figures, curve and calibration in {bundle.path}; {card}"


def same_figures(one: Any, other: Any) -> bool:
    """Say whether two trees of figures are the same but for rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_figures(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_figures, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= SAME_FIGURE
    return one is None and other is None


def score_bundle(bundle: Bundle, data: DataOptions) -> tuple[Scores, str, str]:
    """Run the bundle's graph over the test part; return the scores, the name of what was scored, and the note on it."""
    manifest = bundle.manifest
    names = tuple(info.name for info in manifest.classes)
    check_same_exempt(data, manifest)
    images, part = load_test_images(data, names, manifest.input, kept=manifest.provenance.get("test_fingerprint"))
    logits, cosine = run_graph(bundle.model_path, images)
    groups = tuple(info.group for info in manifest.classes)
    slope = tde.head_effect(cosine, bundle.class_effect)
    return Scores(logits, slope, images.labels, groups, manifest.exempt_class), part.files.source, part.note


def picture_of(name: str, scores: Scores, protocol: dict[str, dict[str, Any]], file_format: str = "svg") -> bytes:
    """Draw the α curve of these scores with the protocol's α marked."""
    marks = {
        "plain classifier": 0.0,
        "label-free": protocol["label_free"]["alpha"],
        "cross-fitted": protocol["cross_fitted"]["alpha"],
    }
    title = f"{name}: accuracy on {len(scores.labels):,} test images"
    if scores.exempt_class is None:
        curves = group_curves(scores.labelled_intervals())
    else:
        curves = sampled_curves(scores, CURVE_ALPHAS)
    present = np.bincount(scores.labels, minlength=len(scores.groups)) > 0
    counted = Counter(np.asarray(scores.groups)[present].tolist())
    return curve_picture(curves, counted, marks, title, file_format)


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
