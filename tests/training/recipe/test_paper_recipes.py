"""The recipes for large data sets, run from a tiny set in the same format to a bundle, on small images."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.bundle import load_bundle
from tests.training.conftest import COLOURS, image
from training import __main__ as cli
from training.model.networks.backbones import build_backbone

SMALLER = (
    "--epochs 1 --device cpu --set batch_size=4 --set height=32 --set width=32 --set resize=36 --set learning_rate=0.01"
)
TRAIN = 18
TEST = 9


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with p0.webp to p26.webp, of three colours in turn."""
    for i in range(TRAIN + TEST):
        (tmp_path / f"p{i}.webp").write_bytes(image(COLOURS[sorted(COLOURS)[i % 3]], i))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def text_lists(root: Path) -> str:
    """Write lists as of ImageNet-LT and Places-LT: `path label`."""
    rows = [f"p{i}.webp {i % 3}\n" for i in range(TRAIN + TEST)]
    (root / "train.txt").write_text("".join(rows[:TRAIN]))
    (root / "test.txt").write_text("".join(rows[TRAIN:]))
    return "--data train.txt --test test.txt --images ."


def coco(root: Path) -> str:
    """Write files as of iNaturalist 2018: one JSON file per part, category ids with gaps."""
    for name, numbers in (("train", range(TRAIN)), ("val", range(TRAIN, TRAIN + TEST))):
        tree = {
            "images": [{"id": i, "file_name": f"p{i}.webp"} for i in numbers],
            "annotations": [{"id": i, "image_id": i, "category_id": 10 * (i % 3) + 7} for i in numbers],
            "categories": [{"id": 10 * k + 7, "name": f"species {k}"} for k in range(3)],
        }
        (root / f"{name}.json").write_text(json.dumps(tree))
    return "--data train.json --test val.json --images ."


def resnet18(root: Path) -> str:
    """Write random weights of a network that has the stages the recipe freezes."""
    torch.manual_seed(0)
    network, _ = build_backbone("resnet18")
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, root / "r18.safetensors")
    return "--network resnet18 --weights r18.safetensors"


@pytest.mark.slow
@pytest.mark.timeout(600)  # a ResNeXt-50 is exported, on a machine that may be busy
@pytest.mark.parametrize(
    ("recipe", "listed", "network"),
    [
        ("imagenet-lt", text_lists, lambda _: ""),
        ("places-lt", text_lists, resnet18),
        ("inaturalist2018", coco, lambda _: ""),
        ("fine-tune", coco, resnet18),
    ],
)
def test_a_recipe_goes_from_its_own_format_to_a_bundle(
    recipe: str, listed: Callable[[Path], str], network: Callable[[Path], str], pictures: Path
) -> None:
    data = listed(pictures)
    commands = [
        f"train {recipe} {data} --out run {SMALLER} {network(pictures)}",
        "export run --out models/tiny",
        f"evaluate models/tiny/1 {data} --json figures.json",
    ]
    assert [cli.main(shlex.split(command)) for command in commands] == [0, 0, 0]
    manifest = load_bundle(pictures / "models" / "tiny" / "1").manifest
    assert [info.training_count for info in manifest.classes] == [6, 6, 6]
    assert manifest.provenance["recipe"] == recipe
    assert json.loads((pictures / "figures.json").read_text())["images"] == TEST
