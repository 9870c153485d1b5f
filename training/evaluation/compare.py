"""`python -m training compare`: show trained runs side by side, with every inference method that their heads allow.

    none              the head's own logits
    tau-norm          w_i / ‖w_i‖^τ, without bias          linear head; Kang et al. 2020, arXiv:1910.09217
    logit adjustment  logits − t · log prior               any head; Menon et al. 2021, arXiv:2007.07314
    TDE               logits − α · head effect             heads that normalise features

The knobs τ, t and α are cross-fitted: chosen for balanced accuracy on one half of the test set, scored on the other,
both ways, averaged. TDE is also shown at the label-free α, and at the authors' α if the recipe has one. Nothing is
trained, and pictures are read only if a run has not kept its test features.
"""

import json
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from models import tde
from models.metrics import summarise
from models.scores import Scores
from models.tuning import halves
from training.evaluation.evaluation_protocol import evaluate_scores, figures_at, mean_of_halves
from training.evaluation.figure_tables import MAIN_FIGURES, heading, methods_table, percent
from training.evaluation.graph_scores import load_test_images
from training.evaluation.label_free import label_free_alpha
from training.model.classifier import Classifier, clean_batches
from training.model.direction import class_effect_of
from training.model.heads import LinearHead, NormalisedHead
from training.output_files import check_output_file, write_together
from training.recipe.recipe import Recipe
from training.run.run_features import RunFeatures, compute_features, load_features, save_features
from training.run.run_state import RunState, load_run
from training.run.trained_model import final_means, restore_classifier

__all__ = ["Row", "compare", "rows_of", "tau_norm"]

TAUS = np.linspace(0.0, 2.0, 41)  # unlike α, the best τ has no exact solution that is cheap, so a grid is searched
HEADINGS = ("run", "inference", "knob", *map(heading, MAIN_FIGURES), "minutes")
Figures = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One trained run with one inference method.

    Attributes:
        run: the name of the run's folder.
        recipe: the run's recipe, with all changes.
        seed: the run's seed.
        minutes: the training time.
        images: the number of images in the test part.
        classes: the number of classes.
        inference: none, tau-norm, logit adjustment, TDE label-free, TDE authors' α, TDE.
        knob: the value of the knob, averaged if it is cross-fitted; None if the method has no knob.
        figures: the figures of the evaluation protocol, as fractions.

    """

    run: str
    recipe: Recipe
    seed: int
    minutes: float
    images: int
    classes: int
    inference: str
    knob: float | None
    figures: Figures


def compare(
    runs: list[Path], data: Path | None = None, json_file: Path | None = None, markdown_file: Path | None = None
) -> list[Row]:
    """Print and return a row for every run and inference method.

    Args:
        runs: finished runs, the folders given to `train --out`.
        data: the folder or zip with the test split; by default the data that each run was trained on.
        json_file: the file to write all figures to.
        markdown_file: the file to write the table to.

    Raises:
        CheckpointError: a run does not exist or is not finished.
        TrainingError: a file cannot be written.
        DataError: a run has kept no features and its test set cannot be read.

    """
    for file in (json_file, markdown_file):
        check_output_file(file)
    rows = [row for run in runs for row in rows_of(run, data)]
    console = Console(highlight=False)
    _print_tables(console, rows)
    contents: dict[Path, bytes] = {}
    if json_file:
        contents[json_file] = (json.dumps([_as_json(row) for row in rows], indent=2) + "\n").encode()
    if markdown_file:
        lines = [HEADINGS, ("---",) * len(HEADINGS), *map(_cells, rows)]
        contents[markdown_file] = "".join(f"| {' | '.join(line)} |\n" for line in lines).encode()
    with write_together(contents):
        pass
    for file in contents:
        console.print(f"wrote {file}", soft_wrap=True)
    return rows


def _print_tables(console: Console, rows: list[Row]) -> None:
    """Print a table for each run, and a warning if the runs were scored on different test parts."""
    for run, group in groupby(rows, key=lambda row: row.run):
        of_run = list(group)
        title = f"{run}: {of_run[0].recipe.method}, {of_run[0].recipe.epochs} epochs, {of_run[0].minutes:.0f} minutes"
        console.print(methods_table(title, (_cells(row)[1:-1] for row in of_run)))
    console.print(
        f"Percent of {rows[0].images:,} test images. Knobs were chosen for balanced accuracy on one half of the images "
        "and scored on the other, both ways.",
        style="dim",
    )
    if len({(row.images, row.classes) for row in rows}) > 1:
        parts = ", ".join(
            f"{name} {images:,} images of {classes} classes"
            for name, images, classes in dict.fromkeys((row.run, row.images, row.classes) for row in rows)
        )
        console.print(f"These runs have different test parts, so do not compare them: {parts}.", style="yellow")


def rows_of(run: Path, data: Path | None = None) -> list[Row]:
    """Return the rows of a run, one for each inference method."""
    state = load_run(run)
    model = restore_classifier(state)
    features = _features(run, state, model, data)
    return [
        Row(
            run=run.resolve().name,
            recipe=state.recipe,
            seed=state.seed,
            minutes=state.seconds / 60,
            images=len(features.labels),
            classes=len(state.data.classes),
            inference=inference,
            knob=knob,
            figures=figures,
        )
        for inference, knob, figures in _methods(state, model, features)
    ]


def _features(run: Path, state: RunState, model: Classifier, data: Path | None) -> RunFeatures:
    """Return the features of the test images: those the run has kept, or newly computed ones.

    Features of the run's own test part are kept; those of other data are not.
    """
    fingerprint = state.data.test_fingerprint
    if data is None and (kept := load_features(run, model, fingerprint)):
        return kept
    options = state.data.options if data is None else data
    expected = fingerprint if data is None else None
    images, _ = load_test_images(options, state.data.classes, state.recipe.image_recipe, kept=expected)
    features = compute_features(model, clean_batches(model, images), images.labels)
    if data is None:
        save_features(run, model, features, fingerprint)
    return features


@torch.inference_mode()
def _methods(state: RunState, model: Classifier, test: RunFeatures) -> list[tuple[str, float | None, Figures]]:
    """Return the name, the knob and the figures of every inference method that the head allows."""
    head = model.head
    counts = np.asarray(state.data.class_counts)
    logits = head(test.features).numpy()
    exempt = state.data.options.exempt_index(state.data.classes)
    plain = Scores(logits, np.zeros(logits.shape[1], np.float32), test.labels, state.data.groups, exempt)
    adjusted = evaluate_scores(plain.logit_adjustment(counts), 1.0)
    methods: list[tuple[str, float | None, Figures]] = [("none", None, adjusted["zero"])]
    if isinstance(head, LinearHead):
        methods.append(("tau-norm", *tau_norm(head, test, plain)))
    methods.append(("logit adjustment", adjusted["cross_fitted"]["alpha"], adjusted["cross_fitted"]))
    means = final_means(state)
    if isinstance(head, NormalisedHead) and means.head_cosine is not None:
        cosine = head.projection(test.features, means.mean_feature).numpy()
        slope = tde.head_effect(cosine, class_effect_of(head, means.mean_feature))
        label_free = label_free_alpha(float(means.head_cosine.mean()))
        methods += _tde_methods(replace(plain, slope=slope), label_free, state.recipe.authors_alpha)
    return methods


def _tde_methods(
    scores: Scores, label_free: float | None, authors: float | None
) -> list[tuple[str, float | None, Figures]]:
    """Return TDE at the label-free α, at the authors' α and at the cross-fitted α, if they are defined."""
    protocol = evaluate_scores(scores, label_free or 0.0)
    methods: list[tuple[str, float | None, Figures]] = []
    if label_free is not None:
        methods.append(("TDE, label-free", label_free, protocol["label_free"]))
    if authors is not None:
        methods.append(("TDE, authors' α", authors, figures_at(scores, authors)))
    return [*methods, ("TDE", protocol["cross_fitted"]["alpha"], protocol["cross_fitted"])]


@torch.inference_mode()
def tau_norm(head: LinearHead, test: RunFeatures, plain: Scores) -> tuple[float, Figures]:
    """Return the cross-fitted τ and its figures. Each class's weights are divided by their norm to the power of τ.

    Args:
        head: the linear head. If a second stage has learnt a factor for each class, the factors are part of the
            weights here.
        test: N features and labels.
        plain: the same images with the head's own logits.

    """
    weight = head.weight * head.class_scale[:, None]
    norms = weight.norm(dim=1, keepdim=True).clamp_min(1e-12)

    def figures(images: npt.NDArray[np.bool_], tau: float) -> Figures:
        logits = (test.features[torch.from_numpy(images)] @ (weight / norms**tau).T).numpy()
        part = plain.part(images)
        part = replace(part, slope=part.logits - logits)  # so that knob 1 gives these logits
        return summarise(*part.top_1(1.0), part.labels, part.groups)

    first = halves(test.labels)
    taus = [TAUS[np.argmax([figures(half, tau)["balanced"] for tau in TAUS])] for half in (first, ~first)]
    on_second = figures(~first, taus[0])
    on_first = figures(first, taus[1])
    return float(np.mean(taus)), {name: mean_of_halves(on_second[name], on_first[name]) for name in on_second}


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.run,
        row.inference,
        "" if row.knob is None else f"{row.knob:.2f}",
        *(percent(row.figures[name]) for name in MAIN_FIGURES),
        f"{row.minutes:.0f}",
    )


def _as_json(row: Row) -> dict[str, Any]:
    return {
        "run": row.run,
        "recipe": row.recipe.to_dict(),
        "seed": row.seed,
        "minutes": row.minutes,
        "images": row.images,
        "classes": row.classes,
        "inference": row.inference,
        "knob": row.knob,
        "figures": row.figures,
    }
