"""`python -m training train`: a recipe, a data set and a seed become a run folder that `export` can ship.

RUN/checkpoint.pt     the state after the last finished epoch, and in the end the mean feature
RUN/tensorboard/      loss, accuracy, learning rate, images/s

Under `torchrun` several processes train together (`distributed.py`); the first writes all of it.
"""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from training.data.data_set import Splits, fingerprint, open_splits
from training.data.formats import is_list
from training.data.labelled_images import MAX_PIXEL_BYTES, LabelledImages, load_images
from training.data.long_tail import cut_long_tail
from training.data.options import DataOptions
from training.errors import DataError
from training.model.classifier import Classifier, clean_batches
from training.model.direction import clean_means
from training.model.heads import NormalisedHead
from training.progress import TrainingProgress
from training.recipe.recipe import Recipe
from training.run.checkpoint import save_checkpoint, source_commit
from training.run.device import check_compiling, describe_hardware, pick_device, pick_precision, set_threads
from training.run.distributed import World
from training.run.features import RunFeatures, compute_features, save_features
from training.run.loop import Trainer
from training.run.pretrained import start_from
from training.run.state import (
    TrainOptions,
    check_same_pictures,
    check_same_precision,
    checkpoint_to_resume,
    data_state,
    new_state,
    restore,
    state_to_resume,
)

__all__ = ["TrainOptions", "load_splits", "train"]

NAMED_CLASSES = 5


def train(recipe: Recipe, options: TrainOptions, world: World | None = None) -> dict[str, Any]:
    """Train to the last epoch and return the finished state, as it was written to `options.out`.

    Args:
        recipe: what to train.
        options: the rest of the command line.
        world: the processes that train together, connected; by default this one is alone.

    Raises:
        DataError, RecipeError, CheckpointError: see each; nothing is half-written.
        TrainingError: one of these in another process of the world, the processes do not fit together, training
            diverges, or the network is to be compiled and cannot be.

    """
    world = world or World()
    with world.together():
        found = checkpoint_to_resume(options) if world.first else None
    found = world.broadcast(found)  # so only the first process needs to see the run folder
    data = DataOptions.of(options.data)
    with world.together(), world.silence():
        before = None if found is None else state_to_resume(found, recipe, options)
        if before is None:
            recipe, options = start_from(recipe, options)
        else:
            recipe = Recipe.from_dict(before["recipe"])
        set_threads(options.threads, world.local_size)
        device = pick_device(options.device, world.local_rank, world.local_size)
        precision = pick_precision(options.precision, device)
        if options.compiled:
            check_compiling(device, precision)
        training_set, test_set, splits = load_splits(data, recipe, memory_bytes=MAX_PIXEL_BYTES // world.local_size)
        if before:
            check_same_precision(before, precision, options.out)
            check_same_pictures(before, data, splits, training_set)
        print(f"{splits.train.source}: {_count(training_set)} ({_named(training_set.classes)}); {splits.note}")
        if world.first:
            options.out.mkdir(parents=True, exist_ok=True)
    world.agree("device and precision", f"{device.type}, {precision}")
    for part, images in (("training set", training_set), ("test set", test_set)):
        world.agree(part, f"{len(images)} images, fingerprint {fingerprint(images.files)[:12]}")
    world.use(device)
    with world.together():
        weights = None if before else options.weights  # a run that goes on has its own
        place = {"device": device, "precision": precision, "compiled": options.compiled, "world": world}
        trainer = Trainer(recipe, training_set, seed=options.seed, weights=weights, **place)
        state = before or new_state(recipe, options, training_set) | data_state(data, splits, training_set, test_set)
        if before:
            restore(trainer, before)
    state |= _place(options, world, device, precision)
    scalars = str(options.out / "tensorboard")
    with SummaryWriter(scalars, purge_step=state["epochs_done"]) if world.first else nullcontext() as writer:
        _train_epochs(trainer, test_set, state, options.out, writer)
    if not state["finished"]:
        state |= _means(trainer) | {"finished": True}
        if world.first:
            save_checkpoint(options.out, state)
    return state


def _place(options: TrainOptions, world: World, device: torch.device, precision: torch.dtype) -> dict[str, str]:
    """Return where and by what the state was computed, as the card will say it."""
    return {
        "hardware": f"{world.size} x {describe_hardware(device)}".removeprefix("1 x "),
        "precision": str(precision).removeprefix("torch."),
        "commit": source_commit(),
        "command": options.command,
    }


def load_splits(
    data: DataOptions, recipe: Recipe, *, memory_bytes: int = MAX_PIXEL_BYTES
) -> tuple[LabelledImages, LabelledImages, Splits]:
    """Read the training and the test part; the training part is cut to the recipe's imbalance ratio.

    Args:
        data: what to read.
        recipe: how pictures become pixels, and the cut.
        memory_bytes: what the pixels of a part may take; where they do not fit they are decoded batch by batch.

    Raises:
        DataError: see `open_splits` and `load_images`; a list is to be cut.

    """
    splits = open_splits(data)
    files = splits.train
    if recipe.imbalance_ratio is not None:
        if is_list(data.data):
            raise DataError(
                f"{data.data}: the imbalance ratio {recipe.imbalance_ratio:g} keeps the first pictures of each class, "
                "but a list has no rank order; add --imbalance-ratio none"
            )
        files = cut_long_tail(files, recipe.imbalance_ratio)
        cut = f"cut from {len(splits.train):,} pictures to imbalance ratio {recipe.imbalance_ratio:g}"
        splits = replace(splits, note=f"{cut} (--imbalance-ratio none keeps all); {splits.note}")
    kept = 0 if recipe.random_resized_crop else memory_bytes  # such crops are cut from the whole picture
    bad = data.max_unreadable
    train = load_images(files, recipe.image_recipe, max_unreadable=bad, memory_bytes=kept)
    test = load_images(
        splits.test, recipe.image_recipe, max_unreadable=bad, every_class=False, memory_bytes=memory_bytes
    )
    return train, test, splits


def _train_epochs(
    trainer: Trainer, test_set: LabelledImages, state: dict[str, Any], out: Path, scalars: SummaryWriter | None
) -> None:
    epochs = trainer.recipe.epochs
    look_every = trainer.recipe.evaluate_every or trainer.recipe.epochs
    with TrainingProgress(
        epochs, trainer.images_per_epoch, done=state["epochs_done"], quiet=scalars is None
    ) as progress:
        progress.say(_what_begins(trainer, state))
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
                found = _test_features(trainer, test_set)
                figures["test_accuracy"] = _accuracy(trainer.final_model, found)
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
                if epoch + 1 == epochs:
                    save_features(out, trainer.final_model, found, state)


def _what_begins(trainer: Trainer, state: dict[str, Any]) -> str:
    recipe = trainer.recipe
    if state["finished"]:
        return f"this run is finished, {recipe.epochs} epochs: export it, or compare it with others"
    start = "random weights" if not state.get("started_from") else f"the weights in {state['started_from']['file']}"
    if state["epochs_done"]:
        start = f"epoch {state['epochs_done']}"
    return (
        f"{recipe.name}, {recipe.method}: {recipe.network} on {_count(trainer.data)}, from {start}; "
        f"{state['hardware']}, {state['precision']}"
        + ("" if recipe.head != "linear" else "; a linear head has no TDE: it can be compared, not exported")
    )


def _count(images: LabelledImages) -> str:
    return f"{len(images):,} pictures of {len(images.classes)} classes"


def _named(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:NAMED_CLASSES]) + (", …" if len(classes) > NAMED_CLASSES else "")


def _test_features(trainer: Trainer, test_set: LabelledImages) -> RunFeatures:
    model = trainer.final_model.eval()
    world = trainer.world
    own = compute_features(model, clean_batches(model, test_set, share=world.share), test_set.labels[world.share])
    return RunFeatures(world.gather(own.features), test_set.labels)


@torch.inference_mode()
def _accuracy(model: Classifier, found: RunFeatures) -> float:
    device = next(model.parameters()).device
    predicted = model.head(found.features.to(device)).argmax(dim=1).cpu()
    return float(np.mean(predicted.numpy() == found.labels))


def _means(trainer: Trainer) -> dict[str, Any]:
    """Return the mean feature of the recipe's kind and the mean head cosine that belongs to it."""
    model = trainer.final_model.eval()
    world = trainer.world
    clean, normalised = clean_means(model, clean_batches(model, trainer.data, share=world.share), world.sum)
    mean_feature = trainer.running_mean.value if trainer.recipe.mean_feature == "running" else clean
    cosine = None
    if isinstance(model.head, NormalisedHead) and normalised is not None:
        direction = torch.nn.functional.normalize(mean_feature.view(model.head.num_heads, -1), dim=1)
        cosine = (normalised * direction).sum(dim=1)
    return {"mean_feature": mean_feature, "mean_head_cosine": cosine}
