"""Continue a run that stopped: find its checkpoint, and refuse to continue with another recipe, data or precision."""

from pathlib import Path

import torch

from training.data.data_set import Splits, fingerprint
from training.data.labelled_images import LabelledImages
from training.data.options import DataOptions
from training.errors import CheckpointError
from training.recipe.recipe import Recipe
from training.run.checkpoint import CHECKPOINT_NAME
from training.run.options import TrainOptions
from training.run.pretrained import with_input
from training.run.run_state import RunData, RunState, StartingWeights, load_run, sha256

__all__ = ["check_same_pictures", "check_same_precision", "checkpoint_to_resume", "run_to_resume"]


def checkpoint_to_resume(options: TrainOptions) -> bytes | None:
    """Return the content of the run folder's checkpoint, or None to start a new run.

    Raises:
        CheckpointError: the folder holds a run, and `--resume` was not given.

    """
    path = options.out / CHECKPOINT_NAME
    if path.exists() and not options.resume:
        raise CheckpointError(
            f"{options.out}: already holds a run; add --resume to continue it, or choose another --out"
        )
    return path.read_bytes() if path.exists() else None


def run_to_resume(content: bytes, recipe: Recipe, options: TrainOptions) -> RunState:
    """Return the state to continue from.

    Args:
        content: the run's checkpoint.
        recipe: the recipe that the command line asks for.
        options: the rest of the command line.

    Raises:
        CheckpointError: the checkpoint cannot be read, or the run was started with another recipe, seed, data set or
            weights.

    """
    state = load_run(options.out, content)
    stored = state.recipe.to_dict() | {"seed": state.seed}
    asked_recipe = with_input(recipe, state.recipe.image_recipe, options.set_fields)
    asked = asked_recipe.to_dict() | {"seed": options.seed}
    changed = [f"{name} {stored[name]!r}, not {value!r}" for name, value in asked.items() if stored[name] != value]
    changed += state.data.options.differences(DataOptions.of(options.data))
    changed += _other_weights(state.started_from, options.weights)
    if changed:
        raise CheckpointError(
            f"{options.out}: this run was started with {'; '.join(changed)}; --resume needs the same options"
        )
    return state


def _other_weights(started_from: StartingWeights | None, given: Path | None) -> list[str]:
    """Describe how the given weights differ from those of the run, whose file may have been deleted since."""
    if given is None:
        return []
    if started_from is None:
        return [f"random weights, not {given}"]
    same = sha256(given) == started_from.sha256 if given.is_file() else given.name == started_from.file
    return [] if same else [f"the weights in {started_from.file}, not those in {given}"]


def check_same_pictures(before: RunData, data: DataOptions, splits: Splits, train: LabelledImages) -> None:
    """Refuse to continue with other pictures than the run was started with.

    Raises:
        CheckpointError: pictures were added or removed.

    """
    same_train = before.train_fingerprint in {None, fingerprint(train.files)}  # older runs stored only the counts
    same_test = before.test_fingerprint in {None, fingerprint(splits.test)}
    if before.class_counts != tuple(train.class_counts.tolist()) or not (same_train and same_test):
        raise CheckpointError(
            f"{data.data}: not the pictures that the run was started with; some were added or removed"
        )


def check_same_precision(stored: str, precision: torch.dtype, run: Path) -> None:
    """Refuse to continue in another precision; `auto` may choose another one on another machine.

    Args:
        stored: the run's precision; empty if an older version did not store it.
        precision: the precision to continue in.
        run: the run folder.

    Raises:
        CheckpointError: they differ; the message names the option.

    """
    asked = str(precision).removeprefix("torch.")
    if stored and stored != asked:
        raise CheckpointError(
            f"{run}: this run was trained in {stored} and would continue in {asked}; add --precision {stored}"
        )
