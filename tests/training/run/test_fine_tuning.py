"""Fine-tuning starts from pretrained weights and keeps those of frozen parts."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.manifest import ImageRecipe
from tests.training.run.test_run import options
from training import __main__ as cli
from training.data.options import DataOptions
from training.errors import CheckpointError, RecipeError
from training.model.classifier import Classifier
from training.model.networks.backbones import build_backbone
from training.recipe.named_recipes import load_recipe
from training.recipe.recipe import Recipe
from training.run.options import TrainOptions
from training.run.pretrained import start_from
from training.run.run_state import load_run
from training.run.train import load_splits, train
from training.run.trainer import Trainer

CPU = {"seed": 0, "device": torch.device("cpu"), "precision": torch.float32}
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SMALL = {"network": "resnet18", "height": 32, "width": 32, "resize": 32, "imbalance_ratio": None, "epochs": 1}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A safetensors file with random weights of a ResNet-18."""
    torch.manual_seed(1)
    network, _ = build_backbone("resnet18")
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, tmp_path / "r18.safetensors")
    return tmp_path / "r18.safetensors"


def test_frozen_parts_keep_their_weights_and_the_others_learn(folder: Path, weights: Path) -> None:
    recipe = Recipe(name="tiny", frozen=("conv1", "bn1", "layer1", "layer2", "layer3"), batch_size=8, **SMALL)
    trainer = Trainer(recipe, load_splits(DataOptions(data=folder), recipe)[0], weights=weights, **CPU)
    given, _ = build_backbone("resnet18", weights)
    trainer.train_epoch(0)
    after = trainer.model.backbone.state_dict()
    changed = {name.split(".")[0] for name, value in given.state_dict().items() if not torch.equal(value, after[name])}
    assert changed == {"layer4"}


def test_the_command_line_fine_tunes_and_names_the_starting_weights(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"train fine-tune --data {folder} --out {tmp_path}/run --weights {weights} --network resnet18 --epochs 1"
    more = "--device cpu --precision float32 --freeze conv1 --freeze bn1 --set height=32 --set width=32 --set resize=32"
    assert cli.main([*words.split(), *more.split()]) == 0
    assert "from the weights in r18.safetensors" in capsys.readouterr().out
    state = load_run(tmp_path / "run")
    recipe = state.recipe
    assert (recipe.network, recipe.frozen, recipe.height) == ("resnet18", ("conv1", "bn1"), 32)
    assert state.started_from
    assert state.started_from.file == "r18.safetensors"
    given, _ = build_backbone("resnet18", weights)
    assert state.trainer
    assert torch.equal(state.trainer.model["backbone.conv1.weight"], given.conv1.weight)


def test_an_unknown_part_and_weights_of_another_network_are_refused(folder: Path, weights: Path) -> None:
    recipe = Recipe(name="tiny", frozen=("layer9",), batch_size=8, **SMALL)
    data = load_splits(DataOptions(data=folder), recipe)[0]
    with pytest.raises(RecipeError, match="cannot freeze 'layer9': the network has no such part"):
        Trainer(recipe, data, **CPU)
    with pytest.raises(RecipeError, match=r"r18\.safetensors"):
        Classifier(replace(recipe, frozen=(), network="resnet34"), 3, weights)


def test_a_resumed_run_does_not_need_the_weights_file(folder: Path, tmp_path: Path, weights: Path) -> None:
    recipe = Recipe(name="tiny", batch_size=8, **SMALL)
    train(recipe, options(folder, tmp_path / "run", weights=weights))
    weights.unlink()
    state = train(recipe, options(folder, tmp_path / "run", weights=weights, resume=True))
    assert state.finished


def test_a_run_is_not_resumed_with_other_weights(folder: Path, tmp_path: Path, weights: Path) -> None:
    recipe = Recipe(name="tiny", batch_size=8, **SMALL)
    train(recipe, options(folder, tmp_path / "run", weights=weights))
    other = tmp_path / "other.safetensors"
    save_file({"anything": torch.zeros(1)}, other)
    with pytest.raises(
        CheckpointError, match=r"started with the weights in r18\.safetensors, not those in .*other\.safe"
    ):
        train(recipe, options(folder, tmp_path / "run", weights=other, resume=True))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "train fine-tune --network resnet18",
            "recipe fine-tune starts from pretrained weights, and no weights of resnet18",
        ),
        ("train cifar10-lt --freeze conv1", "recipe cifar10-lt freezes conv1, and no weights of"),
    ],
)
def test_a_recipe_that_needs_pretrained_weights_is_refused_without_them(
    words: str, sentence: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()  # as a run leaves it that is killed before its first epoch ends
    assert cli.main([*words.split(), "--resume", "--data", str(folder), "--out", str(tmp_path / "run")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert sentence in said
    assert "give them with --weights FILE" in said


def started(network: str, weights: str, *set_fields: str) -> ImageRecipe:
    """Return the input that fine-tuning uses; the given fields are set to 300 by the user."""
    recipe = replace(load_recipe("fine-tune"), network=network, **dict.fromkeys(set_fields, 300))
    given = TrainOptions(data=Path(), out=Path(), weights=Path(weights), set_fields=frozenset(set_fields))
    return start_from(recipe, given)[0].image_recipe


def test_fine_tuning_uses_the_input_that_the_publisher_states() -> None:
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    half = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert started("resnet50", "mine.pth") == ImageRecipe(224, 224, 232, *imagenet)
    assert started("resnet50", "resnet50-0676ba61.pth") == ImageRecipe(224, 224, 256, *imagenet)
    assert started("resnet10", "mine.pth") == ImageRecipe(224, 224, 256, *imagenet)
    assert started("inception_v3", "mine.pth") == ImageRecipe(299, 299, 342, *half)
    assert started("inception_v3", "mine.pth", "resize", "width") == ImageRecipe(299, 300, 300, *half)
    with pytest.raises(RecipeError, match=r"unknown network 'resnet19'; networks: .*resnet18"):
        started("resnet19", "mine.pth")


def test_a_resumed_fine_tuning_keeps_its_image_size_and_needs_no_weights(
    folder: Path, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training.run.pretrained.published_input", lambda *_: ImageRecipe(32, 32, 40, *HALF))
    words = f"train fine-tune --data {folder} --out {tmp_path}/run --network resnet18 --device cpu --precision float32"
    assert cli.main([*words.split(), "--weights", str(weights), "--epochs", "1"]) == 0
    weights.unlink()
    monkeypatch.setattr("training.run.pretrained.published_input", lambda *_: ImageRecipe(64, 64, 64, *HALF))
    monkeypatch.setattr("training.run.pretrained.installed_weights", lambda _: tmp_path / "nowhere")
    assert cli.main([*words.split(), "--epochs", "1", "--resume"]) == 0
    assert "this run is finished" in capsys.readouterr().out
    assert load_run(tmp_path / "run").recipe.resize == 40
    for more, sentence in (("--set resize=300", "resize 40, not 300"), ("--weights typo", "not those in typo")):
        assert cli.main([*words.split(), "--epochs", "1", "--resume", *more.split()]) == 2
        assert sentence in " ".join(capsys.readouterr().err.split())


class OneSize(torch.nn.Module):
    """Takes only 16 x 16 pixels, as a vision transformer takes one size, and has 8 features."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape[2:] == (16, 16), "Input height doesn't match model (16)"
        return images.flatten(1)[:, :8]


def test_an_image_size_that_the_network_cannot_take_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.model.classifier.build_backbone", lambda *_: (OneSize(), 8))
    recipe = Recipe(name="tiny", batch_size=8, **SMALL | {"height": 16, "width": 16})
    data = load_splits(DataOptions(data=folder), recipe)[0]
    Trainer(recipe, data, **CPU)
    for other in (replace(recipe, height=32, width=32), replace(recipe, progressive_sizes=((0, 32),))):
        with pytest.raises(RecipeError, match=r"resnet18 does not take images of 32 x 32 pixels: Input height"):
            Trainer(other, data, **CPU)
