"""`python -m training tune`: choose alpha on your own labelled pictures, and save it in the bundle under a name."""

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from models import strict_json
from models.bundle import Bundle, load_bundle
from models.manifest import NAME_PATTERN, Manifest, OperatingPoint
from models.objective import ALPHA_RANGE, Objective
from models.scores import Scores
from models.tuning import tune
from models.update import check_updatable
from training.bundles.bundle_folders import check_is_bundle
from training.bundles.revise_bundle import revise_bundle
from training.data.labelled_files import LabelledFiles
from training.data.options import DataOptions
from training.errors import TrainingError
from training.evaluation.curve_plot import check_format, plot_curves
from training.evaluation.evaluation_protocol import group_curves
from training.evaluation.graph_scores import check_same_exempt, score_files
from training.evaluation.tune_report import print_report
from training.evaluation.tuning_pictures import pictures_to_tune_on
from training.output_files import check_output_file, write_together

__all__ = ["TuneOptions", "tune_bundle"]


@dataclass(frozen=True)
class TuneOptions:
    """The options of the command line.

    Attributes:
        bundle: the folder NAME/VERSION.
        data: the labelled pictures; `tuning_pictures.py` decides which of them count.
        objective: the figure to optimise, with its constraints and range.
        save_as: the name of the operating point to write into the bundle, or None.
        json_file: the file to write the report to.
        plot_file: the file to write the plot to.
        given: the fields of `data` that were named on the command line, even if with their default value.

    """

    bundle: Path
    data: DataOptions
    objective: Objective
    save_as: str | None = None
    json_file: Path | None = None
    plot_file: Path | None = None
    given: frozenset[str] = frozenset()


def tune_bundle(options: TuneOptions) -> dict[str, Any]:
    """Choose alpha, print a report, and write what was asked for: all of it, or nothing.

    Returns:
        The report that the JSON file holds: that of `models.tuning.tune`, with model, data and unreadable pictures.

    Raises:
        models.errors.LongtailError: the bundle is invalid or cannot be written, or alpha cannot be chosen.
        TrainingError: the pictures, the name or a file to write cannot be used.

    """
    plot_format = check_format(options.plot_file) if options.plot_file else "svg"
    for file in (options.json_file, options.plot_file):
        check_output_file(file)
    check_is_bundle(options.bundle)
    bundle = load_bundle(options.bundle)
    if options.save_as is not None:
        _check_name(options.save_as)
        check_updatable(options.bundle)
    manifest = bundle.manifest
    check_same_exempt(options.data, manifest)
    files, note = pictures_to_tune_on(options.data, manifest, options.given)
    _check_can_choose(options.objective, manifest, files)

    console = Console(highlight=False)
    console.print(note, markup=False, soft_wrap=True)
    scores, unreadable = score_files(bundle, files, options.data.max_unreadable)
    report = tune(scores, bundle.class_counts, options.objective)
    report = {"model": manifest.name, "version": manifest.version, "source": "archive", "data": files.source} | report
    report |= {
        "data_note": note,
        "unreadable": unreadable,
        "unreadable_images": len(unreadable),
        "saved_as": options.save_as,
    }
    print_report(console, report, scores, [info.name for info in manifest.classes])
    contents: dict[Path, bytes] = {}
    if options.json_file:
        contents[options.json_file] = (json.dumps(report, indent=2, allow_nan=False) + "\n").encode()
    if options.plot_file:
        contents[options.plot_file] = _plot(report, scores, plot_format)
    with write_together(contents):
        if options.save_as is not None:
            console.print(_save(bundle, options.save_as, options.objective, report), soft_wrap=True)
    for file in contents:
        console.print(f"wrote {file}", soft_wrap=True)
    return report


def _check_name(name: str) -> None:
    if name == "head":
        raise TrainingError("--save-as head: `head` is always the plain classifier, alpha 0; choose another name")
    if not NAME_PATTERN.fullmatch(name) or strict_json.is_number(name):
        raise TrainingError(
            f"--save-as {name[:80]!r}: a name consists of up to 64 lowercase letters, digits, '.', '_' and '-', begins "
            "with a letter or digit and must not be a number; night-shift is valid"
        )


def _check_can_choose(objective: Objective, manifest: Manifest, files: LabelledFiles) -> None:
    """Check, before the pictures are scored, that alpha can be chosen for this objective on these labels.

    Raises:
        TuningError: a class is exempt, or a group of the objective or its constraints has no pictures.

    """
    groups = tuple(info.group for info in manifest.classes)
    zeros = np.zeros((len(files.labels), len(groups)))
    intervals = Scores(zeros, zeros, files.labels, groups, manifest.exempt_class).labelled_intervals()
    for figure in (objective.figure, *(constraint.figure for constraint in objective.constraints)):
        intervals.curve(figure)  # raises if no image has the figure


def _save(bundle: Bundle, name: str, objective: Objective, report: dict[str, Any]) -> str:
    """Write the operating point into the bundle; return the sentence to print about it and about what it replaced."""
    limits = (
        "" if (objective.low, objective.high) == ALPHA_RANGE else f", alpha in {objective.low:g}..{objective.high:g}"
    )
    chosen_by = (
        f"{objective}{limits}, on the {report['images']:,} images of {report['data']}; middle of the best interval"
    )
    point = OperatingPoint(report["alpha"], chosen_by)
    replaced: OperatingPoint | None = None

    def change(manifest: Manifest) -> Manifest:
        nonlocal replaced
        replaced = manifest.operating_points.get(name)
        return replace(manifest, operating_points=manifest.operating_points | {name: point})

    _, regenerated = revise_bundle(bundle, change)
    before = f", replacing {replaced.alpha:.4g} ({replaced.chosen_by})" if replaced else ""
    card = "its card lists it" if regenerated else "its card was edited by hand and is left unchanged"
    return f"saved as {name} in {bundle.place}: alpha {point.alpha:.4g}{before}; {card}"


def _plot(report: dict[str, Any], scores: Scores, file_format: str) -> bytes:
    intervals = scores.labelled_intervals()
    class_counts = Counter(np.asarray(scores.groups)[intervals.class_images > 0].tolist())
    marks = {"plain classifier": 0.0, "chosen": report["alpha"]}
    title = f"{report['model']}: accuracy on {report['images']:,} images of {report['data']}"
    return plot_curves(group_curves(intervals), class_counts, marks, title, file_format)
