"""`python -m training train`: a recipe, a data set and a seed become a run folder that `export` can ship.

RUN/checkpoint.pt     the state after the last finished epoch, and in the end the mean feature
RUN/tensorboard/      loss, accuracy, learning rate, images/s

Under `torchrun` several processes train together (`distributed.py`); the first writes all of it.
"""

import zlib
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from models.manifest import group_of
from training.checkpoint import CHECKPOINT_NAME, load_checkpoint, save_checkpoint, source_commit
from training.data.class_folders import open_class_folders
from training.data.images import LabelledImages, load_images
from training.data.long_tail import cut_long_tail
from training.device import describe_hardware, pick_device, pick_precision, set_threads
from training.direction import clean_means
from training.distributed import World
from training.errors import CheckpointError, DataError
from training.heads import NormalisedHead
from training.loop import Trainer, clean_batches
from training.progress import TrainingProgress
from training.recipe import Recipe

__all__ = ["TrainOptions", "load_split", "train"]


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What the command line says besides the recipe."""

    data: Path
    out: Path
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    resume: bool = False
    command: str = ""


def train(recipe: Recipe, options: TrainOptions, world: World | None = None) -> dict[str, Any]:
    """Train to the last epoch and return the finished state, as it was written to `options.out`.

    Args:
        recipe: what to train.
        options: the rest of the command line.
        world: the processes that train together, connected; by default this one is alone.
    Raises:
        DataError, RecipeError, CheckpointError: see each; nothing is half-written.
        TrainingError: one of these in another process of the world, or the processes do not fit together.
    """
    world = world or World()
    with world.together():
        found = _checkpoint_to_resume(options) if world.first else None
    found = world.broadcast(found)  # so only the first process needs to see the run folder
    with world.together():
        before = None if found is None else _state_to_resume(found, recipe, options)
        set_threads(options.threads, world.local_size)
        device = pick_device(options.device, world.local_rank, world.local_size)
        precision = pick_precision(options.precision, device)
        training_set = load_split(options.data, "train", recipe)
        test_set = load_split(options.data, "test", recipe)
        if test_set.classes != training_set.classes:
            differing = sorted(set(test_set.classes) ^ set(training_set.classes))
            raise DataError(
                f"{options.data}: train and test do not have the same classes; these are in one only: {differing}"
            )
        if world.first:
            options.out.mkdir(parents=True, exist_ok=True)
    names = zip(training_set.files.names, training_set.labels, strict=True)
    world.agree("device and precision", f"{device.type}, {precision}")
    world.agree("training set", f"{len(training_set)} images, checksum {zlib.crc32(repr([*names]).encode()):08x}")
    world.use(device)

    with world.together():  # what fails here fails in all processes alike
        trainer = Trainer(recipe, training_set, seed=options.seed, device=device, precision=precision, world=world)
        if before:
            _restore(trainer, before)
    state = before or _new_state(recipe, options, training_set)
    hardware = describe_hardware(device) if world.size == 1 else f"{world.size} x {describe_hardware(device)}"
    state |= {"hardware": hardware, "precision": str(precision).removeprefix("torch.")}
    state |= {"commit": source_commit(), "command": options.command}
    scalars = str(options.out / "tensorboard")
    with SummaryWriter(scalars, purge_step=state["epochs_done"]) if world.first else nullcontext() as writer:
        _train_epochs(trainer, test_set, state, options.out, writer)
    if not state["finished"]:
        state |= _means(trainer) | {"finished": True}
        if world.first:
            save_checkpoint(options.out, state)
    return state


def load_split(path: Path, split: str, recipe: Recipe) -> LabelledImages:
    """Read one split; the training split is cut to the recipe's imbalance ratio."""
    files = open_class_folders(path, split)
    if split == "train" and recipe.imbalance_ratio is not None:
        files = cut_long_tail(files, recipe.imbalance_ratio)
    return load_images(files, recipe.image_recipe)


def _train_epochs(
    trainer: Trainer, test_set: LabelledImages, state: dict[str, Any], out: Path, scalars: SummaryWriter | None
) -> None:
    epochs, look_every = trainer.recipe.epochs, trainer.recipe.evaluate_every or trainer.recipe.epochs
    with TrainingProgress(
        epochs, trainer.images_per_epoch, done=state["epochs_done"], quiet=scalars is None
    ) as progress:
        for epoch in range(state["epochs_done"], epochs):
            result = trainer.train_epoch(epoch, on_step=progress.advance)
            figures: dict[str, Any] = {
                "epoch": epoch + 1,
                "loss": result.loss,
                "train_accuracy": result.accuracy,
                "learning_rate": result.learning_rate,
                "images_per_second": result.images / result.seconds,
            }
            if (epoch + 1) % look_every == 0 or epoch + 1 == epochs:
                figures["test_accuracy"] = _test_accuracy(trainer, test_set)
            for name, value in figures.items() if scalars else ():
                scalars.add_scalar(name, value, epoch + 1)
            progress.epoch_done(figures)
            state["history"].append(figures)
            state |= {
                "epochs_done": epoch + 1,
                "seconds": state["seconds"] + result.seconds,
                "model": trainer.model.state_dict(),
                "optimizer": trainer.optimizer.state_dict(),
                "average": None if trainer.average is None else trainer.average.state_dict(),
                "running_mean": trainer.running_mean.value,
            }
            if trainer.world.first:
                save_checkpoint(out, state)


@torch.inference_mode()
def _test_accuracy(trainer: Trainer, test_set: LabelledImages) -> float:
    model, world = trainer.final_model.eval(), trainer.world
    own = [model(images)[1].argmax(dim=1).cpu() for images in clean_batches(model, test_set, share=world.share)]
    predicted = world.gather(torch.cat([torch.empty(0, dtype=torch.int64), *own]))
    return float(np.mean(predicted.numpy() == test_set.labels))


def _means(trainer: Trainer) -> dict[str, Any]:
    """Return the mean feature of the recipe's kind and the mean head cosine that belongs to it."""
    model, world = trainer.final_model.eval(), trainer.world
    clean, normalised = clean_means(model, clean_batches(model, trainer.data, share=world.share), world.sum)
    mean_feature = trainer.running_mean.value if trainer.recipe.mean_feature == "running" else clean
    cosine = None
    if isinstance(model.head, NormalisedHead) and normalised is not None:
        direction = torch.nn.functional.normalize(mean_feature.view(model.head.num_heads, -1), dim=1)
        cosine = (normalised * direction).sum(dim=1)
    return {"mean_feature": mean_feature, "mean_head_cosine": cosine}


def _new_state(recipe: Recipe, options: TrainOptions, data: LabelledImages) -> dict[str, Any]:
    return {
        "recipe": recipe.to_dict(),
        "seed": options.seed,
        "data": options.data.name,
        "data_path": str(options.data.resolve()),
        "classes": list(data.classes),
        "class_counts": data.class_counts.tolist(),
        "groups": [group_of(int(count)) for count in data.class_counts],
        "date": datetime.now(UTC).date().isoformat(),
        "epochs_done": 0,
        "seconds": 0.0,
        "history": [],
        "finished": False,
    }


def _checkpoint_to_resume(options: TrainOptions) -> bytes | None:
    """Return what the run folder holds, None to start anew; refuse to mix two runs in one folder."""
    path = options.out / CHECKPOINT_NAME
    if path.exists() and not options.resume:
        raise CheckpointError(
            f"{options.out}: holds a run already; add --resume to continue it, or choose another --out"
        )
    return path.read_bytes() if path.exists() else None


def _state_to_resume(content: bytes, recipe: Recipe, options: TrainOptions) -> dict[str, Any]:
    """Return the state to continue from; it must be of the same run."""
    state = load_checkpoint(options.out, content)
    stored = {"recipe": Recipe.from_dict(state["recipe"]), "seed": state["seed"], "data": state["data"]}
    asked = {"recipe": recipe, "seed": options.seed, "data": options.data.name}
    for what, value in asked.items():
        if stored[what] != value:
            raise CheckpointError(
                f"{options.out}: this run was started with another {what} ({stored[what]}); --resume needs the same"
            )
    return state


def _restore(trainer: Trainer, state: dict[str, Any]) -> None:
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
