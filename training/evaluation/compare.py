"""`python -m training compare`: trained runs side by side, each with every way of inference that its head allows.

    none              the head's own logits
    tau-norm          w_i / ‖w_i‖^τ, without bias                       linear head; Kang et al. 2020, arXiv:1910.09217
    logit adjustment  logits − t · log prior                            any head; Menon et al. 2021, arXiv:2007.07314
    TDE               logits − α · head effect                          heads that normalise features

τ, t and α are cross-fitted: chosen for balanced accuracy on one half of the test set, scored on the other, both ways,
averaged. TDE is also shown at the label-free α, and at the authors' where the recipe has one. Nothing is trained;
pictures are read only where a run has not kept its test features.
"""

import json
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models import tde
from models.metrics import summarise
from models.scores import Scores
from models.tuning import halves
from training.evaluation.evaluation_protocol import evaluate_scores, figures_at
from training.evaluation.graph_scores import load_test_images
from training.model.classifier import Classifier, clean_batches
from training.model.direction import MIN_MEAN_COSINE, class_effect_of
from training.model.heads import LinearHead, NormalisedHead
from training.output_files import check_output_file, write_together
from training.recipe.recipe import Recipe
from training.run.run_features import RunFeatures, compute_features, load_features, save_features
from training.run.run_state import RunState, load_run
from training.run.trained_model import final_means, restore_classifier

__all__ = ["Row", "compare", "rows_of", "tau_norm"]

FIGURES = ("overall", "balanced", "many", "medium", "few", "worst_class")
TAUS = np.linspace(0.0, 2.0, 41)  # accuracy is no step function of τ with few steps, so it is looked for on a grid
Figures = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One trained run under one way of inference.

    Attributes:
        run: the folder's name.
        recipe: its recipe with all changes.
        seed: of the run.
        minutes: of training.
        images, classes: of the test part it was scored on.
        inference: none, tau-norm, logit adjustment, TDE label-free, TDE authors' α, TDE.
        knob: the value it used, cross-fitted ones averaged; None where there is none.
        figures: of the evaluation protocol, as fractions.

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
    """Print and return a row for every run and way of inference.

    Args:
        runs: folders given to `train --out`, finished.
        data: where the test split is; by default where each run trained from.
        json_file: where all figures go.
        markdown_file: where the table goes.

    Raises:
        CheckpointError: a run is not there or not finished.
        TrainingError: a file cannot be written.
        DataError: a run has kept no features and its test set is not there.

    """
    for file in (json_file, markdown_file):
        check_output_file(file)
    rows = [row for run in runs for row in rows_of(run, data)]
    console = Console(highlight=False)
    for run, same in groupby(rows, key=lambda row: row.run):
        console.print(_table(run, list(same)))
    console.print(
        f"Percent of {rows[0].images:,} test pictures. Knobs were chosen for balanced accuracy on one half of them and "
        "scored on the other, both ways.",
        style="dim",
    )
    if len({(row.images, row.classes) for row in rows}) > 1:
        parts = ", ".join(
            f"{name} {images:,} pictures of {classes} classes"
            for name, images, classes in dict.fromkeys((row.run, row.images, row.classes) for row in rows)
        )
        console.print(f"These runs have different test parts and cannot be compared: {parts}.", style="yellow")
    contents: dict[Path, bytes] = {}
    if json_file:
        contents[json_file] = (json.dumps([_plain(row) for row in rows], indent=2) + "\n").encode()
    if markdown_file:
        lines = [HEADINGS, ("---",) * len(HEADINGS), *map(_cells, rows)]
        contents[markdown_file] = "".join(f"| {' | '.join(line)} |\n" for line in lines).encode()
    with write_together(contents):
        pass
    for file in contents:
        console.print(f"wrote {file}", soft_wrap=True)
    return rows


def rows_of(run: Path, data: Path | None = None) -> list[Row]:
    """Return a run's rows, one for each way of inference."""
    state = load_run(run)
    model = restore_classifier(state)
    found = _features(run, state, model, data)
    name = run.resolve().name
    about = (name, state.recipe, state.seed, state.seconds / 60, len(found.labels), len(state.data.classes))
    return [Row(*about, inference, knob, figures) for inference, knob, figures in _ways(state, model, found)]


def _features(run: Path, state: RunState, model: Classifier, data: Path | None) -> RunFeatures:
    """Return the features of the run's own test part, kept or to be kept, or of other pictures, which are not."""
    if data is None and (kept := load_features(run, model, state.data.test_fingerprint)):
        return kept
    where, kept_part = (state.data.options, state.data.test_fingerprint) if data is None else (data, None)
    images, _ = load_test_images(where, state.data.classes, state.recipe.image_recipe, kept=kept_part)
    found = compute_features(model, clean_batches(model, images), images.labels)
    if data is None:
        save_features(run, model, found, state.data.test_fingerprint)
    return found


@torch.inference_mode()
def _ways(state: RunState, model: Classifier, found: RunFeatures) -> list[tuple[str, float | None, Figures]]:
    head = model.head
    counts = np.asarray(state.data.class_counts)
    logits = head(found.features).numpy()
    exempt = state.data.options.exempt_index(state.data.classes)
    plain = Scores(logits, np.zeros(logits.shape[1], np.float32), found.labels, state.data.groups, exempt)
    adjusted = evaluate_scores(plain.logit_adjustment(counts), 1.0)
    rows: list[tuple[str, float | None, Figures]] = [("none", None, adjusted["zero"])]
    if isinstance(head, LinearHead):
        rows.append(("tau-norm", *tau_norm(head, found, plain)))
    rows.append(("logit adjustment", adjusted["cross_fitted"]["alpha"], adjusted["cross_fitted"]))
    means = final_means(state)
    if isinstance(head, NormalisedHead) and means.head_cosine is not None:
        cosine = head.projection(found.features, means.mean_feature).numpy()
        effect = tde.head_effect(cosine, class_effect_of(head, means.mean_feature))
        mean_cosine = float(means.head_cosine.mean())
        label_free = None if mean_cosine < MIN_MEAN_COSINE else 1.0 / mean_cosine
        protocol = evaluate_scores(replace(plain, slope=effect), label_free or 0.0)
        if label_free is not None:
            rows.append(("TDE, label-free", label_free, protocol["label_free"]))
        authors_alpha = state.recipe.authors_alpha
        if authors_alpha is not None:
            at_theirs = figures_at(replace(plain, slope=effect), authors_alpha)
            rows.append(("TDE, authors' α", authors_alpha, at_theirs))
        rows.append(("TDE", protocol["cross_fitted"]["alpha"], protocol["cross_fitted"]))
    return rows


@torch.inference_mode()
def tau_norm(head: LinearHead, found: RunFeatures, plain: Scores) -> tuple[float, Figures]:
    """Return the cross-fitted τ and its figures; each class's weights are divided by their norm to the power of τ.

    Args:
        head: with the factors a second stage may have given its classes, which are part of the weights here.
        found: N features and labels.
        plain: the same images with the head's own logits.

    """
    weight = head.weight * head.class_scale[:, None]
    norms = weight.norm(dim=1, keepdim=True).clamp_min(1e-12)

    def figures(images: npt.NDArray[np.bool_], tau: float) -> Figures:
        logits = (found.features[torch.from_numpy(images)] @ (weight / norms**tau).T).numpy()
        some = plain.part(images)
        some = replace(some, slope=some.logits - logits)  # so that these logits are there at knob 1
        return summarise(*some.top_1(1.0), some.labels, some.groups)

    first = halves(found.labels)
    taus = [TAUS[np.argmax([figures(chosen, tau)["balanced"] for tau in TAUS])] for chosen in (first, ~first)]
    one = figures(~first, taus[0])
    other = figures(first, taus[1])
    both = {name: (value, other[name]) for name, value in one.items()}
    mean = {name: None if None in values else sum(values) / 2 for name, values in both.items()}
    return float(np.mean(taus)), mean


HEADINGS = ("run", "inference", "knob", *(name.replace("_", " ") for name in FIGURES), "minutes")


def _table(run: str, rows: list[Row]) -> Table:
    """Return a run's rows for a terminal of 80 columns."""
    title = f"{run}: {rows[0].recipe.method}, {rows[0].recipe.epochs} epochs, {rows[0].minutes:.0f} minutes"
    table = Table(title=escape(title), title_justify="left", box=SIMPLE, padding=(0, 0), title_style="bold")
    for number, name in enumerate(("", *HEADINGS[2:-1])):
        table.add_column(name.replace(" ", "\n"), justify="right" if number else "left", min_width=7 if number else 17)
    for row in rows:
        _, inference, *figures, _ = _cells(row)
        table.add_row(inference, *figures)
    return table


def _cells(row: Row) -> tuple[str, ...]:
    shares = (row.figures[name] for name in FIGURES)
    return (
        row.run,
        row.inference,
        "" if row.knob is None else f"{row.knob:.2f}",
        *("–" if share is None else f"{100 * share:.2f}" for share in shares),
        f"{row.minutes:.0f}",
    )


def _plain(row: Row) -> dict[str, Any]:
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
