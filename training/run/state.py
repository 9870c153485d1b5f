"""What a run is between two epochs: the values its checkpoint holds, how they begin and are taken up again."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from models.manifest import group_of
from training.data.data_set import Splits, fingerprint
from training.data.labelled_images import LabelledImages
from training.data.options import DataOptions, options_of, path_name
from training.errors import CheckpointError
from training.recipe.recipe import Recipe
from training.run.checkpoint import CHECKPOINT_NAME, load_checkpoint
from training.run.loop import Trainer
from training.run.pretrained import with_input

__all__ = [
    "TrainOptions",
    "check_same_pictures",
    "check_same_precision",
    "checkpoint_to_resume",
    "data_state",
    "new_state",
    "restore",
    "state_to_resume",
]


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What the command line says besides the recipe.

    Attributes:
        data: the data set.
        out: the run folder.
        seed: of weights, order and augmentation.
        device, precision: `auto`, or as on the command line.
        threads: of torch on the CPU; None for one per core.
        weights: file of pretrained weights to start from.
        set_fields: fields of the recipe that were set by hand, which nothing else decides.
        compiled: compile the network before the first step.
        resume: go on with the run in `out`, if there is one.
        command: as it was typed, for the model card.

    """

    data: DataOptions | Path
    out: Path
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    weights: Path | None = None
    set_fields: frozenset[str] = frozenset()
    compiled: bool = False
    resume: bool = False
    command: str = ""


def new_state(recipe: Recipe, options: TrainOptions, data: LabelledImages) -> dict[str, Any]:
    """Return the state of a run of which no epoch is done."""
    return {
        "recipe": recipe.to_dict(),
        "seed": options.seed,
        "started_from": options.weights and {"file": options.weights.name, "sha256": _sha256(options.weights)},
        "classes": list(data.classes),
        "class_counts": data.class_counts.tolist(),
        "groups": [group_of(int(count)) for count in data.class_counts],
        "date": datetime.now(UTC).date().isoformat(),
        "epochs_done": 0,
        "seconds": 0.0,
        "history": [],
        "finished": False,
    }


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def data_state(data: DataOptions, splits: Splits, train: LabelledImages, test: LabelledImages) -> dict[str, Any]:
    """Return what a run keeps of its data: enough to find the same test part again, and to say how it came about."""
    return {
        "data": path_name(data.data),
        "data_options": data.to_dict(),
        "data_note": splits.note,
        "train_fingerprint": fingerprint(train.files),
        "test_fingerprint": fingerprint(splits.test),
        "unreadable_images": {"train": len(train.unreadable), "test": len(test.unreadable)},
    }


def checkpoint_to_resume(options: TrainOptions) -> bytes | None:
    """Return what the run folder holds, None to start anew; refuse to mix two runs in one folder."""
    path = options.out / CHECKPOINT_NAME
    if path.exists() and not options.resume:
        raise CheckpointError(
            f"{options.out}: holds a run already; add --resume to continue it, or choose another --out"
        )
    return path.read_bytes() if path.exists() else None


def state_to_resume(content: bytes, recipe: Recipe, options: TrainOptions) -> dict[str, Any]:
    """Return the state to continue from; it must be of the same run."""
    state = load_checkpoint(options.out, content)
    of_run = Recipe.from_dict(state["recipe"])
    stored = of_run.to_dict() | {"seed": state["seed"]}
    asked = with_input(recipe, of_run.image_recipe, options).to_dict() | {"seed": options.seed}
    changed = [f"{what} {stored[what]!r}, not {value!r}" for what, value in asked.items() if stored[what] != value]
    changed += options_of(state).differences(DataOptions.of(options.data))
    changed += _other_weights(state.get("started_from"), options.weights)
    if changed:
        raise CheckpointError(
            f"{options.out}: this run was started with {'; '.join(changed)}. --resume needs what it was started with"
        )
    return state


def _other_weights(began: dict[str, str] | None, weights: Path | None) -> list[str]:
    """Say so where weights are given that a run did not start from; those of the run need not be there any more."""
    if weights is None:
        return []
    if began is None:
        return [f"random weights, not {weights}"]
    same = _sha256(weights) == began["sha256"] if weights.is_file() else weights.name == began["file"]
    return [] if same else [f"the weights in {began['file']}, others than {weights}"]


def check_same_pictures(before: dict[str, Any], data: DataOptions, splits: Splits, train: LabelledImages) -> None:
    """Refuse to go on with other pictures than the run was started with.

    Raises:
        CheckpointError: some came or went.

    """
    same_train = before.get("train_fingerprint") in {None, fingerprint(train.files)}  # older runs have counts alone
    same_test = before.get("test_fingerprint") in {None, fingerprint(splits.test)}
    if before["class_counts"] != train.class_counts.tolist() or not (same_train and same_test):
        raise CheckpointError(f"{data.data}: these are not the pictures the run was started with; some came or went")


def check_same_precision(before: dict[str, Any], precision: torch.dtype, run: Path) -> None:
    """Refuse to go on in another precision than the run was started in, as `auto` may choose on another machine.

    Raises:
        CheckpointError: it is another; the message names the option.

    """
    asked = str(precision).removeprefix("torch.")
    stored = before.get("precision", asked)
    if stored != asked:
        raise CheckpointError(
            f"{run}: this run was trained in {stored}, and would go on in {asked} here; add --precision {stored}"
        )


def restore(trainer: Trainer, state: dict[str, Any]) -> None:
    """Put the trainer where the run stopped.

    Raises:
        CheckpointError: the state is of another network.

    """
    if trainer.in_second_stage(state["epochs_done"] - 1):
        trainer.begin_second_stage()
    try:
        trainer.model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint is of another network: {str(error).splitlines()[-1].strip()}") from error
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.running_mean.value = state["running_mean"]
    if trainer.average is not None:
        trainer.average.load_state_dict(state["average"])
