"""`python -m training train`: a recipe, a data set and a seed become a run folder that `export` can turn into a bundle.

RUN/checkpoint.pt                the state after the last finished epoch and, at the end, the mean feature
RUN/test_features.safetensors    the test set's features under the final weights
RUN/tensorboard/                 loss, accuracy, learning rate, images/s

Under `torchrun` several processes train together (`distributed.py`); the first one writes all files.
"""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from models.sentences import first_few
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
from training.run.checkpoint import source_commit
from training.run.device import check_compiling, describe_hardware, pick_device, pick_precision, set_threads
from training.run.distributed import World
from training.run.options import TrainOptions
from training.run.pretrained import start_from
from training.run.resuming import check_same_pictures, check_same_precision, checkpoint_to_resume, run_to_resume
from training.run.run_features import RunFeatures, compute_features, save_features
from training.run.run_state import Means, RunData, RunPlace, RunState, new_run, save_run
from training.run.trainer import EpochResult, Trainer

__all__ = ["load_splits", "train"]


def train(recipe: Recipe, options: TrainOptions, world: World | None = None) -> RunState:
    """Train to the last epoch and return the finished state, as it was written to `options.out`.

    Args:
        recipe: what to train.
        options: the rest of the command line.
        world: the processes that train together, connected; by default, this one alone.

    Raises:
        DataError, RecipeError, CheckpointError: the data, the recipe or the run folder cannot be used; no file is
            half-written.
        TrainingError: another process raised one of these, the processes do not fit together, training diverged, or
            the network cannot be compiled.

    """
    world = world or World()
    with world.together():
        content = checkpoint_to_resume(options) if world.first else None
    content = world.broadcast(content)  # so only the first process needs to see the run folder
    data = DataOptions.of(options.data)
    with world.together(), world.silence():
        before = None if content is None else run_to_resume(content, recipe, options)
        if before is None:
            recipe, options = start_from(recipe, options)
        else:
            recipe = before.recipe
        device, precision = _pick_place(options, world)
        memory_bytes = MAX_PIXEL_BYTES // world.local_size
        names = None if before is None else before.data.classes
        training_set, test_set, splits = load_splits(data, recipe, names, memory_bytes=memory_bytes)
        if before is not None:
            check_same_precision(before.place.precision, precision, options.out)
            check_same_pictures(before.data, data, splits, training_set)
        print(f"{splits.train.source}: {_count(training_set)} ({first_few(training_set.classes)}); {splits.note}")
        if world.first:
            options.out.mkdir(parents=True, exist_ok=True)
    world.agree("device and precision", f"{device.type}, {precision}")
    for part, images in (("training set", training_set), ("test set", test_set)):
        world.agree(part, f"{len(images)} images, fingerprint {fingerprint(images.files)[:12]}")
    world.use(device)
    with world.together(), world.silence():
        trainer = Trainer(
            recipe,
            training_set,
            seed=options.seed,
            device=device,
            precision=precision,
            weights=options.weights if before is None else None,  # a resumed run has its own
            compiled=options.compiled,
            world=world,
        )
        state = before or new_run(recipe, options, RunData.of(data, splits, training_set, test_set))
        if state.trainer is not None:
            trainer.restore(state.trainer, state.epochs_done)
    state.place = _place(options, world, device, precision)
    scalars = str(options.out / "tensorboard")
    with SummaryWriter(scalars, purge_step=state.epochs_done) if world.first else nullcontext() as writer:
        _train_epochs(trainer, test_set, state, options.out, writer)
    if not state.finished:
        state.means = _means(trainer, training_set)
        if world.first:
            save_run(options.out, state)
    return state


def _pick_place(options: TrainOptions, world: World) -> tuple[torch.device, torch.dtype]:
    """Set the number of threads; return the device and the precision to compute in."""
    set_threads(options.threads, world.local_size)
    device = pick_device(options.device, world.local_rank, world.local_size)
    precision = pick_precision(options.precision, device)
    if options.compiled:
        check_compiling(device, precision)
    return device, precision


def _place(options: TrainOptions, world: World, device: torch.device, precision: torch.dtype) -> RunPlace:
    return RunPlace(
        hardware=f"{world.size} x {describe_hardware(device)}".removeprefix("1 x "),
        precision=str(precision).removeprefix("torch."),
        commit=source_commit(),
        command=options.command,
    )


def load_splits(
    data: DataOptions,
    recipe: Recipe,
    class_names: tuple[str, ...] | None = None,
    *,
    memory_bytes: int = MAX_PIXEL_BYTES,
) -> tuple[LabelledImages, LabelledImages, Splits]:
    """Read the training and the test part; the training part is cut to the recipe's imbalance ratio.

    Args:
        data: what to read.
        recipe: how pictures become images, and the imbalance ratio.
        class_names: the classes in the order of the run to continue; None for a new run.
        memory_bytes: how many bytes the images of a part may take; larger parts are decoded batch by batch.

    Raises:
        DataError: see `open_splits` and `load_images`; or a list is to be cut.

    """
    splits = open_splits(data, class_names)
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
    kept = 0 if recipe.random_resized_crop else memory_bytes  # these crops are cut from the whole picture
    bad = data.max_unreadable
    train = load_images(files, recipe.image_recipe, max_unreadable=bad, memory_bytes=kept)
    test = load_images(
        splits.test, recipe.image_recipe, max_unreadable=bad, every_class=False, memory_bytes=memory_bytes
    )
    return train, test, splits


def _train_epochs(
    trainer: Trainer, test_set: LabelledImages, state: RunState, out: Path, scalars: SummaryWriter | None
) -> None:
    """Train the epochs that are left; after each, print and write its figures and, in the first process, save."""
    epochs = state.recipe.epochs
    evaluate_every = state.recipe.evaluate_every or epochs
    per_epoch = trainer.batches.images_per_epoch
    with TrainingProgress(epochs, per_epoch, done=state.epochs_done, quiet=not trainer.world.first) as progress:
        progress.say(_opening(trainer, state))
        for epoch in range(state.epochs_done, epochs):
            result = trainer.train_epoch(epoch, on_step=progress.advance)
            figures = _figures(result)
            last = epoch + 1 == epochs
            if last or (epoch + 1) % evaluate_every == 0:
                features = _test_features(trainer, test_set)
                figures["test_accuracy"] = _accuracy(trainer.final_model, features)
            if scalars is not None:
                for name, value in figures.items():
                    scalars.add_scalar(name, value, epoch + 1)
            progress.epoch_done(figures)
            state.history.append(figures)
            state.epochs_done = epoch + 1
            state.seconds += result.seconds
            state.trainer = trainer.state()
            if trainer.world.first:
                save_run(out, state)
                if last:
                    save_features(out, trainer.final_model, features, state.data.test_fingerprint)


def _figures(result: EpochResult) -> dict[str, float]:
    return {
        "epoch": result.epoch + 1,
        "loss": result.loss,
        "train_accuracy": result.accuracy,
        "learning_rate": result.learning_rate,
        "images_per_second": result.images / result.seconds,
    }


def _opening(trainer: Trainer, state: RunState) -> str:
    """Return the line that is printed first: what is trained, from where, on what hardware."""
    recipe = state.recipe
    if state.finished:
        return f"this run is finished, {recipe.epochs} epochs: export it, or compare it with others"
    start = "random weights" if state.started_from is None else f"the weights in {state.started_from.file}"
    if state.epochs_done:
        start = f"epoch {state.epochs_done}"
    return (
        f"{recipe.name}, {recipe.method}: {recipe.network} on {_count(trainer.batches.data)}, from {start}; "
        f"{state.place.hardware}, {state.place.precision}"
        + ("" if recipe.head != "linear" else "; a linear head has no TDE: it can be compared, but not exported")
    )


def _count(images: LabelledImages) -> str:
    return f"{len(images):,} pictures of {len(images.classes)} classes"


def _test_features(trainer: Trainer, test_set: LabelledImages) -> RunFeatures:
    """Return the test set's features under the current weights, in every process."""
    model = trainer.final_model.eval()
    world = trainer.world
    own = compute_features(model, clean_batches(model, test_set, share=world.share), test_set.labels[world.share])
    return RunFeatures(world.gather(own.features), test_set.labels)


@torch.inference_mode()
def _accuracy(model: Classifier, found: RunFeatures) -> float:
    predicted = model.head(found.features.to(model.device)).argmax(dim=1).cpu()
    return float(np.mean(predicted.numpy() == found.labels))


def _means(trainer: Trainer, training_set: LabelledImages) -> Means:
    """Return the mean feature of the recipe's kind and the mean head cosine that belongs to it."""
    model = trainer.final_model.eval()
    world = trainer.world
    clean, normalised = clean_means(model, clean_batches(model, training_set, share=world.share), world.sum)
    mean_feature = trainer.running_mean.value if trainer.recipe.mean_feature == "running" else clean
    if not isinstance(model.head, NormalisedHead) or normalised is None:
        return Means(mean_feature, None)
    direction = torch.nn.functional.normalize(mean_feature.view(model.head.num_heads, -1), dim=1)
    return Means(mean_feature, (normalised * direction).sum(dim=1))
