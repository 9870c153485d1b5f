"""`python -m training compare`: trained runs side by side, each with every way of inference that its head allows.

    none              the head's own logits
    tau-norm          w_i / ‖w_i‖^τ, without bias                       linear head; Kang et al. 2020, arXiv:1910.09217
    logit adjustment  logits − t · log prior                            any head; Menon et al. 2021, arXiv:2007.07314
    TDE               logits − α · head effect                          heads that normalise features

τ, t and α are cross-fitted: chosen for balanced accuracy on one half of the test set, scored on the other, both ways,
averaged. TDE is also shown at the label-free α. Nothing is trained; pictures are read only where a run has not kept its
test features.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

from models import tde
from models.metrics import summarise
from models.scores import Scores
from models.tuning import halves
from training.checkpoint import load_checkpoint
from training.classifier import Classifier
from training.data.data_set import DataOptions, options_of
from training.export import restore_classifier
from training.heads import LinearHead, NormalisedHead
from training.loop import clean_batches
from training.outputs import check_place, written_together
from training.protocol import evaluate_scores
from training.recipe import Recipe
from training.run_features import RunFeatures, compute_features, load_features, save_features
from training.scoring import load_test_images

__all__ = ["Row", "compare", "rows_of", "tau_norm"]

FIGURES = ("overall", "many", "medium", "few", "worst_class")
TAUS = np.linspace(0.0, 2.0, 41)  # accuracy is no step function of τ with few steps, so it is looked for on a grid
Figures = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One trained run under one way of inference.

    Attributes:
        run: the folder's name.
        recipe: its recipe with all changes.
        seed: of the run.
        hours: of training.
        inference: none, tau-norm, logit adjustment, TDE label-free, TDE.
        knob: the value it used, cross-fitted ones averaged; None where there is none.
        figures: of the evaluation protocol, as fractions.
    """

    run: str
    recipe: Recipe
    seed: int
    hours: float
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
        check_place(file)
    rows = [row for run in runs for row in rows_of(run, data)]
    cells = [_cells(row) for row in rows]
    table = Table(title="percent of the test set; knobs are cross-fitted", title_justify="left")
    for name in HEADINGS:
        table.add_column(name, justify="left" if name in HEADINGS[:2] else "right")
    for each in cells:
        table.add_row(*each)
    console = Console(highlight=False)
    console.print(table)
    contents: dict[Path, bytes] = {}
    if json_file:
        contents[json_file] = (json.dumps([_plain(row) for row in rows], indent=2) + "\n").encode()
    if markdown_file:
        lines = [HEADINGS, ("---",) * len(HEADINGS), *cells]
        contents[markdown_file] = "".join(f"| {' | '.join(line)} |\n" for line in lines).encode()
    with written_together(contents):
        pass
    for file in contents:
        console.print(f"wrote {file}", soft_wrap=True)
    return rows


def rows_of(run: Path, data: Path | None = None) -> list[Row]:
    """Return a run's rows, one for each way of inference."""
    state = load_checkpoint(run)
    recipe = Recipe.from_dict(state["recipe"])
    model = restore_classifier(state, recipe)
    found = _features(run, state, recipe, model, data)
    about = (run.resolve().name, recipe, state["seed"], state["seconds"] / 3600)
    return [Row(*about, inference, knob, figures) for inference, knob, figures in _ways(state, model, found)]


def _features(run: Path, state: dict[str, Any], recipe: Recipe, model: Classifier, data: Path | None) -> RunFeatures:
    kept = load_features(run, model)
    if kept is not None:
        return kept
    where = options_of(state) if data is None else DataOptions.of(data)
    kept = state.get("test_fingerprint")
    images, _ = load_test_images(where, tuple(state["classes"]), recipe.image_recipe, kept=kept)
    found = compute_features(model, clean_batches(model, images), images.labels)
    save_features(run, model, found)
    return found


@torch.inference_mode()
def _ways(state: dict[str, Any], model: Classifier, found: RunFeatures) -> list[tuple[str, float | None, Figures]]:
    groups, counts, head = tuple(state["groups"]), np.asarray(state["class_counts"]), model.head
    logits = head(found.features).numpy()
    exempt = options_of(state).exempt_index(tuple(state["classes"]))
    adjusted = Scores(logits, logits[0], found.labels, groups, exempt).logit_adjustment(counts)
    fitted = evaluate_scores(adjusted, 1.0)
    rows: list[tuple[str, float | None, Figures]] = [("none", None, fitted["zero"])]
    if isinstance(head, LinearHead):
        rows.append(("tau-norm", *tau_norm(head, found, groups)))
    rows.append(("logit adjustment", fitted["cross_fitted"]["alpha"], fitted["cross_fitted"]))
    if isinstance(head, NormalisedHead):
        effect = tde.class_effect(
            head.weight.numpy(), state["mean_feature"].numpy(), num_heads=head.num_heads, tau=head.tau, gamma=head.gamma
        )
        cosine = head.projection(found.features, state["mean_feature"]).numpy()
        scores = Scores(logits, tde.head_effect(cosine, effect), found.labels, groups, exempt)
        label_free = tde.label_free_alpha(state["mean_head_cosine"].numpy()[None])
        protocol = evaluate_scores(scores, label_free)
        rows.append(("TDE, label-free", label_free, protocol["label_free"]))
        rows.append(("TDE", protocol["cross_fitted"]["alpha"], protocol["cross_fitted"]))
    return rows


def tau_norm(head: LinearHead, found: RunFeatures, groups: tuple[str, ...]) -> tuple[float, Figures]:
    """Return the cross-fitted τ and its figures; each class's weights are divided by their norm to the power of τ."""
    norms = head.weight.norm(dim=1, keepdim=True)

    def figures(images: npt.NDArray[np.bool_], tau: float) -> Figures:
        logits = (found.features[torch.from_numpy(images)] @ (head.weight / norms**tau).T).numpy()
        confidence = tde.softmax(logits).max(axis=1)
        return summarise(logits.argmax(axis=1), confidence, found.labels[images], groups)

    first = halves(found.labels)
    taus = [TAUS[np.argmax([figures(chosen, tau)["balanced"] for tau in TAUS])] for chosen in (first, ~first)]
    one, other = figures(~first, taus[0]), figures(first, taus[1])
    mean = {name: None if value is None else (value + other[name]) / 2 for name, value in one.items()}
    return float(np.mean(taus)), mean


HEADINGS = ("run", "inference", "knob", *(name.replace("_", " ") for name in FIGURES), "hours")


def _cells(row: Row) -> tuple[str, ...]:
    shares = (row.figures[name] for name in FIGURES)
    return (
        row.run,
        row.inference,
        "" if row.knob is None else f"{row.knob:.2f}",
        *("–" if share is None else f"{100 * share:.2f}" for share in shares),
        f"{row.hours:.1f}",
    )


def _plain(row: Row) -> dict[str, Any]:
    return {
        "run": row.run,
        "recipe": row.recipe.to_dict(),
        "seed": row.seed,
        "hours": row.hours,
        "inference": row.inference,
        "knob": row.knob,
        "figures": row.figures,
    }
