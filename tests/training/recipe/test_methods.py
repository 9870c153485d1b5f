"""Every method trains, resumes to the same bits, and does what its name says."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.run.test_run import options, same
from training.data.options import DataOptions
from training.errors import RecipeError
from training.recipe.methods import METHODS, with_method
from training.recipe.named_recipes import load_recipe
from training.recipe.recipe import Recipe
from training.recipe.settings import with_settings
from training.run.run_state import RunState, save_run
from training.run.schedule import learning_rate_at
from training.run.train import load_splits, train
from training.run.trainer import Trainer

CPU = {"seed": 0, "device": torch.device("cpu"), "precision": torch.float32}


def stopped_and_resumed(
    recipe: Recipe, data: Path, run: Path, monkeypatch: pytest.MonkeyPatch, whole: RunState
) -> bool:
    """A run stopped before its last epoch, then resumed, ends as the whole one did."""

    def stop_before_the_last(run: Path, state: RunState) -> None:
        save_run(run, state)
        if state.epochs_done == recipe.epochs - 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("training.run.train.save_run", stop_before_the_last)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, options(data, run))
    return same(whole, train(recipe, options(data, run, resume=True)))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_resumes_to_the_same_weights(
    method: str, folder: Path, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = with_method(replace(recipe, epochs=20), method).with_epochs(4)
    if recipe.second_stage != "none":
        recipe = replace(recipe, second_stage_epochs=2)
    whole = train(recipe, options(folder, tmp_path / "whole"))
    assert stopped_and_resumed(recipe, folder, tmp_path / "parts", monkeypatch, whole)


def test_random_crops_and_colour_jitter_train_and_resume_too(
    folder: Path, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = replace(recipe, auto_augment=False, cutout=0, crop_padding=0, random_resized_crop=True, color_jitter=0.4)
    whole = train(big, options(folder, tmp_path / "whole"))
    assert stopped_and_resumed(big, folder, tmp_path / "parts", monkeypatch, whole)


def test_random_crops_are_cut_from_the_whole_picture_not_from_its_centre(folder: Path, recipe: Recipe) -> None:
    small = replace(recipe, height=4, width=4, resize=4)
    kept, whole = (
        load_splits(DataOptions(data=folder), replace(small, crop_padding=padding, random_resized_crop=not padding))[0]
        for padding in (1, 0)
    )
    assert kept.pixels is not None
    assert whole.pixels is None


def test_two_ways_to_crop_are_refused(recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match="both crop; set crop_padding=0"):
        replace(recipe, random_resized_crop=True)


@pytest.mark.parametrize("method", ["crt", "lws"])
def test_in_the_second_stage_only_the_head_learns(method: str, folder: Path, recipe: Recipe) -> None:
    recipe = replace(with_method(replace(recipe, epochs=10), method), second_stage_epochs=4)
    trainer = Trainer(recipe, load_splits(DataOptions(data=folder), recipe)[0], **CPU)
    trainer.train_epoch(5)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train_epoch(6)
    changed = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == ({"head.weight", "head.bias"} if method == "crt" else {"head.class_scale"})


def test_the_second_stage_draws_classes_equally_often(folder: Path, recipe: Recipe) -> None:
    recipe = replace(recipe, epochs=10, second_stage="crt", second_stage_epochs=4)
    trainer = Trainer(recipe, load_splits(DataOptions(data=folder), recipe)[0], **CPU)
    drawn: Counter[int] = Counter()
    for seed in range(40):
        order = trainer.batches.order(9, torch.Generator().manual_seed(seed))
        drawn.update(trainer.batches.data.labels[order].tolist())
    shares = [drawn[label] / sum(drawn.values()) for label in range(3)]
    assert min(shares) > 0.28
    plain = trainer.batches.data.labels[trainer.batches.order(0, torch.Generator().manual_seed(0))]
    assert Counter(plain.tolist())[0] > 2 * Counter(plain.tolist())[2]


def test_the_second_stage_has_its_own_schedule() -> None:
    recipe = with_method(load_recipe("cifar10-lt-strong"), "crt")
    assert recipe.first_stage_epochs == 180
    assert learning_rate_at(recipe, 179.99) < 1e-4
    assert learning_rate_at(recipe, 180.0) == pytest.approx(recipe.second_stage_learning_rate)
    assert learning_rate_at(recipe, 199.99) < 1e-4


def test_a_method_changes_only_what_it_names() -> None:
    recipe = load_recipe("cifar100-lt-strong")
    assert with_method(recipe, "deconfounded") == recipe
    assert with_method(recipe, "balanced-softmax") == replace(
        recipe, method="balanced-softmax", head="linear", loss="balanced_softmax"
    )
    assert with_method(recipe, "ldam-drw").reweight_from == 160
    with pytest.raises(RecipeError, match="unknown method 'magic'; methods: deconfounded, cosine"):
        with_method(recipe, "magic")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("nope=1", "a recipe has no field 'nope'; fields: network, pretrained"),
        ("learning_rat=1", "did you mean learning_rate"),
        ("epochs", "must be FIELD=VALUE"),
        ("name=x", "a recipe has no field 'name'"),
        ("batch_size=many", "recipe cifar10-lt: batch_size is 'many'; it must be a valid integer"),
        ("epochs=100", "use --epochs, which also moves everything that happens at an epoch"),
        (
            "restarts=((70, .1),)",
            "--set restarts: it has no effect with head deconfounded, loss cross_entropy, schedule mil",
        ),
        ("second_stage_epochs=5", "second_stage_epochs: it has no effect"),
        ("auto_augment_policy=imagenet", "auto_augment_policy: it has no effect"),
        ("milestones=(300,)", "milestones 300 is never reached; there are 200 epochs"),
        ("progressive_sizes=((500, 20),)", "progressive_sizes 500 is never reached"),
        ("reweight_from=200", "reweight_from 200 is never reached; there are 200 epochs"),
        ("head=foo", "head is 'foo'; it must be 'linear', 'cosine', 'capsule' or 'deconfounded'"),
        ("mean=(1,2)", "mean[2] is missing (the default is (0.4914, 0.4822, 0.4465))"),
        ("batch_size=0", "batch_size is 0; it must be at least 2 and at most 999,999"),
        ("learning_rate=-1", "learning_rate is -1; it must be at least 1e-09 and below 1e+38"),
        ("learning_rate=nan", "learning_rate is 'nan'; it must be a finite number"),
        ("ema_decay=2", "ema_decay is 2; it must be at least 0 and below 1"),
        ("rand_augment=(2, 40)", "rand_augment[1] is 40; it must be less than or equal to 30"),
        ("height=0", "height is 0; it must be at least 1 and at most 4,096"),
        ("progressive_sizes=((0, 0),)", "progressive_sizes[0][1] is 0; it must be greater than or equal to 4"),
        ("std=(0, 0, 0)", "std[0] is 0; it must be greater than or equal to"),
        ("reweight_beta=1", "reweight_beta is 1; it must be at least 0 and below 1"),
        ("restarts=((70, .1), (70, .1))", "must be in ascending order, after the warm-up (5 epochs)"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_reason(setting: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(sentence)):
        with_settings(load_recipe("cifar10-lt"), [setting])


def test_settings_that_contradict_a_method_or_a_recipe_are_refused() -> None:
    short = load_recipe("cifar10-lt-short")
    with pytest.raises(RecipeError, match="auto_augment and rand_augment would both change every image"):
        with_settings(short, ["rand_augment=(2, 9)"])
    with pytest.raises(RecipeError, match="must come before the second stage, at epoch 55"):
        with_settings(with_method(short, "crt"), ["second_stage_epochs=20"])
    with pytest.raises(RecipeError, match="the recipe's restarts need a cosine"):
        with_settings(short, ["schedule=milestones"])
    with pytest.raises(RecipeError, match="milestones 120 is never reached; there are 75 epochs"):
        with_settings(short, ["schedule=milestones", "restarts=()"])
    for field in ("num_heads=4", "gamma=0.5"):
        with pytest.raises(RecipeError, match=f"--set {field.partition('=')[0]}: it has no effect with head cosine"):
            with_settings(with_method(short, "cosine"), [field])
    assert with_settings(with_method(short, "rand-augment"), ["rand_augment=(3, 9)", "num_heads=4"]).num_heads == 4


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(RecipeError, match="nesterov needs a momentum above 0"):
        with_settings(load_recipe("cifar10-lt"), ["nesterov=True", "momentum=0"])


def test_settings_change_the_recipe() -> None:
    recipe = with_settings(
        load_recipe("cifar10-lt"),
        ["learning_rate=1", "ema_decay=0.99", "rand_augment=(2, 9)", "network=resnet18", "imbalance_ratio=None"],
    )
    assert (recipe.learning_rate, recipe.ema_decay, recipe.rand_augment) == (1.0, 0.99, (2, 9))
    assert (recipe.network, recipe.imbalance_ratio) == ("resnet18", None)
