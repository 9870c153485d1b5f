"""An imported checkpoint gives the TDE logits of the authors' code."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import tde
from models.__main__ import main as models_cli
from models.bundle import Bundle, load_bundle
from models.preprocess import decode_image
from tests.training.official.authors import Authors, ResNet, resnet, resnet32
from training import __main__ as cli
from training.evaluation.graph_scores import open_graph
from training.model.networks.backbones import build_backbone
from training.official.checkpoint import check_fit, network_of

CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
GREY = (0.5, 0.5, 0.5)
COUNTS = {"blue": 24, "green": 12, "red": 6}  # of `folder`, which has 24 of each


@pytest.fixture(scope="module")
def colours() -> Authors:
    """A ResNet-32 for the three colours of `folder`."""
    return resnet32(classes=3)


@pytest.fixture
def colour_list(tmp_path: Path) -> Path:
    """The class list of `colours`."""
    return class_list(tmp_path / "colours.txt", COUNTS)


def class_list(path: Path, counts: dict[str, int]) -> Path:
    path.write_text("".join(f"{name},{count}\n" for name, count in counts.items()))
    return path


def run(checkpoint: Path, classes: Path, out: Path, *more: object) -> int:
    return cli.main(["import-official", str(checkpoint), "--classes", str(classes), "--out", str(out), *map(str, more)])


def imported(authors: Authors, checkpoint: Path) -> Bundle:
    counts = {f"class {index}": 500 // (index + 1) for index in range(len(authors.weight))}
    out = checkpoint.with_name("bundles") / "imported"
    assert run(checkpoint, class_list(checkpoint.with_suffix(".txt"), counts), out) == 0
    return load_bundle(out / "1")


def assert_same_tde(bundle: Bundle, authors: Authors, normalisation: tuple[Any, Any], **head: Any) -> None:
    """1e-3 of logits of which theirs span up to 2 tau = 32: float32 convolutions summed in another order."""
    pixels = np.random.default_rng(1).integers(0, 256, (3, authors.side, authors.side, 3), dtype=np.uint8)
    logits, cosine = open_graph(bundle.model_path).run(["logits", "head_cosine"], {"images": pixels})
    for alpha in (0.0, 0.5, 1.5, 3.0):
        given = tde.tde_logits(logits, cosine, bundle.class_effect, alpha)
        expected = authors.tde(pixels, *normalisation, alpha, **head)
        assert np.ptp(expected) > 0.5
        np.testing.assert_allclose(given, expected, atol=1e-3)


def test_their_resnet32_gives_their_tde_logits_and_figures_can_come_later(
    colours: Authors, colour_list: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundles" / "colours"
    more = ("--preset", "cifar10", "--train-data", folder)
    assert run(colours.save_best(tmp_path / "final.pth"), colour_list, out, *more) == 0
    bundle = load_bundle(out / "1")
    assert bundle.manifest.input.resize == bundle.manifest.input.width == 32
    assert_same_tde(bundle, colours, CIFAR)

    files = [file for name, n in COUNTS.items() for file in sorted((folder / "train" / name).iterdir())[:n]]
    pixels = np.stack([decode_image(file.read_bytes(), bundle.manifest.input) for file in files])
    (cosine,) = open_graph(bundle.model_path).run(["head_cosine"], {"images": pixels})
    points = bundle.manifest.operating_points
    assert points["label_free"].alpha == pytest.approx(1 / cosine.mean(), rel=1e-4)
    assert f"1 / mean head cosine of 42 images of {folder.name}, train split" in points["label_free"].chosen_by
    assert points["balanced"].chosen_by == "the authors' alpha for cifar10; not tuned on pictures"

    assert (bundle.manifest.metrics, (out / "1" / "curve.svg").exists()) == ({}, False)
    assert "**Not evaluated**" in (out / "1" / "README.md").read_text()
    assert cli.main(["evaluate", str(out / "1"), "--data", str(folder), "--save"]) == 0
    card = (out / "1" / "README.md").read_text()
    assert "![Accuracy against α](curve.svg)" in card
    assert "Weights: best epoch, 87, chosen on the test set, as their code does for CIFAR" in card


@pytest.mark.slow
def test_a_resnet10_without_pictures_gives_their_tde_logits_and_their_alpha(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authors = resnet((1, 1, 1, 1), 365, bottleneck=False)
    bundle = imported(authors, authors.save_best(tmp_path / "final.pth"))
    recipe = bundle.manifest.input
    made = bundle.manifest.provenance
    assert (recipe.resize, recipe.height, made["network"]) == (256, 224, "resnet10")
    assert made["weights"] == "best epoch, 87, chosen on validation"
    assert_same_tde(bundle, authors, IMAGENET)
    untuned = (3.0, "the authors' alpha for places; not tuned on pictures")
    assert {name: (point.alpha, point.chosen_by) for name, point in bundle.manifest.operating_points.items()} == {
        "head": (0.0, "the plain classifier"),
        **dict.fromkeys(("label_free", "balanced", "tail", "authors"), untuned),
    }
    assert "no metrics: pass labelled pictures" in capsys.readouterr().out
    assert models_cli(["check", str(bundle.path)]) == 0


@pytest.mark.slow
def test_their_resnext50_on_enlarged_cifar_gives_their_tde_logits(tmp_path: Path) -> None:
    authors = resnet((3, 4, 6, 3), 10, bottleneck=True, groups=32, width=4)
    bundle = imported(authors, authors.save_latest(tmp_path / "latest.pth"))
    recipe = bundle.manifest.input
    assert (bundle.manifest.provenance["network"], recipe.resize, recipe.height) == ("resnext50_32x4d", 224, 224)
    assert_same_tde(bundle, authors, CIFAR)


@pytest.mark.parametrize(
    ("name", "blocks", "options"),
    [
        ("resnet10", (1, 1, 1, 1), {"bottleneck": False}),
        ("resnet50", (3, 4, 6, 3), {"bottleneck": True}),
        ("resnet101", (3, 4, 23, 3), {"bottleneck": True}),
        ("resnet152", (3, 8, 36, 3), {"bottleneck": True}),
        ("resnext50_32x4d", (3, 4, 6, 3), {"bottleneck": True, "groups": 32, "width": 4}),
        ("resnext101_32x4d", (3, 4, 23, 3), {"bottleneck": True, "groups": 32, "width": 4}),
        ("resnext152_32x4d", (3, 8, 36, 3), {"bottleneck": True, "groups": 32, "width": 4}),
    ],
)
def test_every_network_of_theirs_is_known_by_its_weights(
    name: str, blocks: tuple[int, ...], options: dict[str, Any]
) -> None:
    with torch.device("meta"):
        theirs = ResNet(blocks, **options).state_dict()
        ours, width = build_backbone(name)
    weights = {key: value for key, value in theirs.items() if not key.endswith("num_batches_tracked")}
    assert network_of(Path("their.pth"), "feat_model", weights) == name
    check_fit(name, weights, ours.state_dict())
    assert width == (2048 if options["bottleneck"] else 512)


def test_with_labelled_pictures_alpha_is_chosen_as_export_does(
    colours: Authors, colour_list: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundles" / "colours" / "3"
    flags = ("--preset", "cifar10", "--num-heads", 4, "--tau", 10, "--gamma", 0.1, "--alpha", 2.5, "--mean", *GREY)
    assert run(colours.save_latest(tmp_path / "latest.pth"), colour_list, out, *flags, "--data", folder) == 0
    bundle = load_bundle(out)
    assert_same_tde(bundle, colours, (GREY, CIFAR[1]), heads=4, tau=10.0, gamma=0.1)
    metrics = bundle.manifest.metrics
    points = bundle.manifest.operating_points
    assert set(metrics["protocol"]) == {"zero", "label_free", "cross_fitted", "hindsight"}
    assert metrics["images"] == 18
    assert points["balanced"].alpha == metrics["protocol"]["hindsight"]["alpha"]
    assert points["authors"].alpha == 2.5
    assert points["authors"].chosen_by == "given with --alpha; not tuned on pictures"
    assert points["label_free"].chosen_by.endswith("test split; their labels were not used")
    assert (out / "curve.svg").exists()
    assert "cross_fitted" in capsys.readouterr().out
