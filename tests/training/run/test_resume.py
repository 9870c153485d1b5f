"""Resuming refuses other pictures and another precision; a diverging run keeps its last good checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.conftest import COLOURS, image
from tests.training.recipe.test_methods import CPU, stopped_and_resumed
from tests.training.run.test_run import options
from training.data import labelled_images as training_images
from training.data.options import DataOptions
from training.errors import CheckpointError, TrainingError
from training.recipe.recipe import Recipe
from training.run import train as training_train
from training.run.checkpoint import load_checkpoint, save_checkpoint
from training.run.distributed import World
from training.run.run_state import load_run
from training.run.train import load_splits, train
from training.run.trainer import Trainer


def test_a_run_is_not_resumed_with_a_replaced_picture(tmp_path: Path, recipe: Recipe) -> None:
    recipe = replace(recipe, epochs=1, imbalance_ratio=None)
    data = tmp_path / "data"
    for split in ("train", "test"):
        for name, colour in COLOURS.items():
            (data / split / name).mkdir(parents=True)
            for rank in range(3):
                (data / split / name / f"{rank}.webp").write_bytes(image(colour, rank))
    train(recipe, options(data, tmp_path / "run"))
    (data / "train" / "red" / "0.webp").rename(data / "train" / "red" / "7.webp")  # as many as before
    with pytest.raises(CheckpointError, match="not the pictures that the run was started with"):
        train(recipe, options(data, tmp_path / "run", resume=True))
    values = load_checkpoint(tmp_path / "run")
    del values["format"], values["train_fingerprint"]
    save_checkpoint(tmp_path / "run", values)  # as in runs of older versions
    assert train(recipe, options(data, tmp_path / "run", resume=True)).finished


def test_a_run_is_resumed_only_in_its_own_precision(folder: Path, tmp_path: Path, recipe: Recipe) -> None:
    recipe = replace(recipe, epochs=1)
    train(recipe, options(folder, tmp_path))
    other = replace(options(folder, tmp_path, resume=True), precision="bfloat16")
    with pytest.raises(
        CheckpointError, match=r"trained in float32 and would continue in bfloat16.*--precision float32"
    ):
        train(recipe, other)
    assert train(recipe, options(folder, tmp_path, resume=True)).place.precision == "float32"


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_diverging_run_ends_and_keeps_the_previous_checkpoint(
    epoch: int, folder: Path, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.train_step

    def diverging(self: Trainer, images: Any, labels: Any, moment: float, generator: Any) -> Any:
        loss, logits = step(self, images, labels, moment, generator)
        return (loss * float("nan") if moment > epoch else loss), logits

    monkeypatch.setattr(Trainer, "train_step", diverging)
    kept = "the checkpoint of epoch 2 is kept" if epoch else "nothing was saved"
    sentence = rf"epoch {epoch + 1}: training diverged \(loss nan\).*--set learning_rate=0\.025; {kept}"
    with pytest.raises(TrainingError, match=sentence):
        train(recipe, options(folder, tmp_path))
    if epoch:
        assert load_run(tmp_path).epochs_done == epoch
    assert (tmp_path / "checkpoint.pt").exists() == bool(epoch)


def test_weights_that_are_not_finite_end_a_run_before_they_are_saved(folder: Path, recipe: Recipe) -> None:
    trainer = Trainer(recipe, load_splits(DataOptions(data=folder), recipe)[0], **CPU)

    def spoil(_: int) -> None:  # after the last step, so that no loss shows it
        trainer.model.backbone.conv.weight.data[0] = float("inf")

    trainer.batches.recipe = replace(recipe, batch_size=32)  # one step
    with pytest.raises(TrainingError, match=r"epoch 1: training diverged \(loss \d.*, weights not finite\)"):
        trainer.train_epoch(0, on_step=spoil)


@pytest.mark.parametrize(("method", "head"), [("crt", "deconfounded"), ("lws", "linear")])
def test_the_second_stage_trains_the_head_on_the_averaged_backbone(
    method: Any, head: str, folder: Path, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(recipe, epochs=4, ema_decay=0.9, head=head, second_stage=method, second_stage_epochs=2)
    trainer = Trainer(recipe, load_splits(DataOptions(data=folder), recipe)[0], **CPU)
    assert trainer.average is not None
    for epoch in range(2):
        trainer.train_epoch(epoch)
    averaged = {name: value.clone() for name, value in trainer.final_model.state_dict().items()}
    trainer.train_epoch(2)
    assert int(trainer.average.n_averaged) == trainer.batches.per_epoch
    for name, value in trainer.model.state_dict().items():
        if name.startswith("backbone"):
            assert torch.equal(value, averaged[name])
            assert torch.equal(value, trainer.final_model.state_dict()[name])
    whole = train(recipe, options(folder, tmp_path / "whole"))
    assert stopped_and_resumed(recipe, folder, tmp_path / "parts", monkeypatch, whole)
    averages = [state.trainer and state.trainer.average for state in (whole, load_run(tmp_path / "parts"))]
    assert averages[0]
    assert averages[1]
    assert all(torch.equal(value, averages[1][name]) for name, value in averages[0].items())


def test_processes_on_one_machine_share_its_memory_and_decode_in_their_own_threads(
    folder: Path, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = training_images.ThreadPoolExecutor
    threads = list[int]()
    kept = list[bool]()
    load = training_train.load_images

    def spied(*arguments: Any, **named: Any) -> Any:
        found = load(*arguments, **named)
        kept.append(found.pixels is not None)
        return found

    monkeypatch.setattr(training_images, "ThreadPoolExecutor", lambda n: threads.append(n) or pool(n))
    monkeypatch.setattr(training_train, "load_images", spied)
    monkeypatch.setattr(training_train, "MAX_PIXEL_BYTES", 42 * 8 * 8 * 3)  # all 42 training pictures
    for local_size in (1, 2):
        world = World(local_size=local_size)
        train(replace(recipe, epochs=1), options(folder, tmp_path / str(local_size), threads=1), world)
    assert kept == [True, True, False, True]  # training and test part; half of it is enough for 18 test pictures
    assert set(threads) == {1}
