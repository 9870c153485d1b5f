"""`python -m training evaluate`: score a bundle by the evaluation protocol, as a table, JSON and a plot."""

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
from training.evaluation.curve_plot import check_format, plot_curves
from training.evaluation.evaluation_protocol import evaluate_scores, group_curves, sampled_curves
from training.evaluation.figure_tables import ALL_FIGURES, heading, percent_sign
from training.evaluation.graph_scores import check_same_exempt, load_test_images, run_graph
from training.evaluation.manifest_metrics import CURVE_ALPHAS, classes_without_images, manifest_metrics
from training.output_files import check_output_file, write_together

__all__ = ["curve_of", "evaluate", "protocol_table", "same_figures", "score_bundle"]

MAX_ROUNDING = 1e-5  # if one image of 10,000 changes its class, the accuracy moves by ten times that


def evaluate(
    bundle_path: Path, data: DataOptions | Path, json_file: Path | None, plot_file: Path | None, *, save: bool = False
) -> dict[str, Any]:
    """Score the bundle on a test part, print the figures, and return the report that the JSON file holds.

    Args:
        bundle_path: the folder NAME/VERSION.
        data: the data set whose test part is scored.
        json_file: the file to write the report to.
        plot_file: the file to write the plot to.
        save: write the figures, the curve and a calibration into the bundle, replacing those it holds.

    Raises:
        ExportError: the folder is a run, or holds the versions of a model.
        models.errors.BundleError: the bundle is invalid or cannot be written.
        DataError: the test part has a class that the bundle does not know, or too many unreadable pictures.

    """
    plot_format = check_format(plot_file) if plot_file else "svg"
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
        contents[plot_file] = curve_of(bundle.manifest.name, scores, protocol, plot_format)
    with write_together(contents):
        if save:
            console.print(_save(bundle, scores, protocol, source, data.arguments), soft_wrap=True)
    for file in contents:
        console.print(f"wrote {file}", soft_wrap=True)
    return report


def _print_figures(
    console: Console, bundle: Bundle, scores: Scores, protocol: dict[str, dict[str, Any]], note: str
) -> None:
    """Print the table, the name of what was scored, and the classes that count in no figure."""
    title = f"{bundle.manifest.name} version {bundle.manifest.version}, {len(scores.labels):,} images"
    console.print(protocol_table(protocol, title))
    class_names = [info.name for info in bundle.manifest.classes]
    for sentence in filter(None, [note, classes_without_images(scores, class_names)]):
        console.print(sentence, markup=False, soft_wrap=True)
    console.print(
        "cross_fitted: alpha chosen on one half, scored on the other, both ways. hindsight: an upper bound."
        if scores.exempt_class is None
        else "alpha was chosen among the classes that are not exempt. cross_fitted: chosen on one half, scored on the "
        "other, both ways. hindsight: chosen on the images it is scored on.",
        style="dim",
    )


def _save(bundle: Bundle, scores: Scores, protocol: dict[str, dict[str, Any]], source: str, arguments: str) -> str:
    """Write the evaluation into the bundle, and return the sentence to print about it.

    If the bundle holds the same figures for these images, they and its curve stay unchanged to the last digit, because
    the same graph gives logits that differ in the seventh digit from one processor to the next.
    """
    metrics = manifest_metrics(scores, protocol, bundle.manifest.classes, source, arguments)
    held = bundle.manifest.metrics
    confirmed = all(held.get(key) == metrics[key] for key in ("data", "images")) and same_figures(
        held.get("protocol"), protocol
    )
    if confirmed:
        metrics["protocol"] = held["protocol"]

    def change(manifest: Manifest) -> Manifest:
        return replace(manifest, metrics=manifest.metrics | metrics)

    curve = {} if confirmed else {"curve.svg": curve_of(bundle.manifest.name, scores, protocol)}
    _, regenerated = revise_bundle(bundle, change, curve)
    if confirmed:
        return f"saved curve and calibration in {bundle.place}; its figures are confirmed and stay as they were"
    card = "its card and curve are updated" if regenerated else "its card was edited by hand and is left unchanged"
    return f"saved figures, curve and calibration in {bundle.place}; {card}"


def same_figures(one: Any, other: Any) -> bool:
    """Return whether two trees of figures are equal up to rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_figures(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_figures, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= MAX_ROUNDING
    return one is None and other is None


def score_bundle(bundle: Bundle, data: DataOptions) -> tuple[Scores, str, str]:
    """Run the bundle's graph over a test part; return the scores, the name of the test part, and a note about it."""
    manifest = bundle.manifest
    names = tuple(info.name for info in manifest.classes)
    check_same_exempt(data, manifest)
    images, part = load_test_images(data, names, manifest.input, kept=manifest.provenance.get("test_fingerprint"))
    logits, cosine = run_graph(bundle.model_path, images)
    groups = tuple(info.group for info in manifest.classes)
    slope = tde.head_effect(cosine, bundle.class_effect)
    return Scores(logits, slope, images.labels, groups, manifest.exempt_class), part.files.source, part.note


def curve_of(name: str, scores: Scores, protocol: dict[str, dict[str, Any]], file_format: str = "svg") -> bytes:
    """Plot the α curve of these scores, with the protocol's α marked."""
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
    return plot_curves(curves, counted, marks, title, file_format)


def protocol_table(protocol: dict[str, dict[str, Any]], title: str) -> Table:
    """Return the protocol as a table of percentages; a group without images shows a dash."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in protocol:
        table.add_column(name, justify="right")
    table.add_row("alpha", *(f"{figures['alpha']:.3f}" for figures in protocol.values()))
    for figure in ALL_FIGURES:
        table.add_row(heading(figure), *(percent_sign(figures[figure]) for figures in protocol.values()))
    return table
