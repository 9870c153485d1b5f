"""The model card: generated from the manifest, recognised again in today's wording and in that of version 0.5."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from models.bundle import load_bundle
from models.manifest import Manifest
from tests.tiny_bundle import TinyModel
from training.bundles import model_card as cards
from training.bundles.model_card import is_generated, model_card
from training.bundles.revise_bundle import revise_bundle

SHIPPED = sorted((Path(__file__).parents[3] / "models" / "shipped").glob("*/*"))
EARLIER_CARDS = Path(__file__).parent / "cards_0_5"  # written by the generator of version 0.5.0
COMMON: dict[str, Any] = {
    "network": "net", "head": "deconfounded", "epochs": 1, "seed": 0, "hardware": "a computer",
    "mean_feature": "clean", "commit": "0", "date": "2026-11-24", "command": "python -m training ...",
    "onnx_torch_difference": 1e-6, "weights": "last epoch", "training_seconds": 60,
}  # fmt: skip
FITTED = {
    "pretrained": "net.pth", "pretrained_sha256": "ab", "data": "mine, train split", "learning_rate": 0.5,
    "weight_decay": 2e-3, "feature_seconds": 20, "data_note": "test part: mine/test", "imbalance_ratio": None,
}  # fmt: skip
IMPORTED = {"imported_from": "github.com/example", "file": "x.pth", "file_sha256": "cd", "pictures": "of 32 pixels"}


def manifest_of(kind: str) -> Manifest:
    tiny = TinyModel().manifest(kind)
    if kind == "trained":
        return dataclasses.replace(
            tiny, provenance=COMMON | {"recipe": "tiny", "imbalance_ratio": 4.0, "precision": "float32"}
        )
    if kind == "own-pictures":
        made = COMMON | {"recipe": "tiny", "imbalance_ratio": None, "precision": "float32"}
        return dataclasses.replace(tiny, provenance=made, exempt_class=1)
    if kind == "fitted":
        return dataclasses.replace(tiny, provenance=COMMON | FITTED)
    return dataclasses.replace(tiny, provenance=COMMON | IMPORTED, metrics={})


KINDS = ["trained", "own-pictures", "fitted", "imported"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_generated_card_is_recognised_and_an_edited_one_is_not(kind: str) -> None:
    manifest = manifest_of(kind)
    card = model_card(manifest)
    assert is_generated(card.encode(), manifest)
    assert not is_generated(card.replace("Limits", "My limits").encode(), manifest)


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_in_the_wording_of_version_0_5_is_recognised(kind: str) -> None:
    card = (EARLIER_CARDS / f"{kind}.txt").read_bytes()
    assert card.decode() != model_card(manifest_of(kind))
    assert is_generated(card, manifest_of(kind))


def test_every_reworded_sentence_is_one_that_some_card_has() -> None:
    every_card = "".join(model_card(manifest_of(kind)) for kind in KINDS)
    assert [now for now, _ in cards._EARLIER_WORDING if now not in every_card] == []


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda path: path.parent.name)
def test_a_shipped_bundle_loads_and_a_revision_regenerates_its_card(shipped: Path, tmp_path: Path) -> None:
    copy = tmp_path / shipped.parent.name / shipped.name
    shutil.copytree(shipped, copy)
    bundle = load_bundle(copy)
    assert bundle.manifest.format_version == 1
    assert is_generated((copy / "README.md").read_bytes(), bundle.manifest)
    points = bundle.manifest.operating_points

    def move(manifest: Manifest) -> Manifest:
        return dataclasses.replace(manifest, operating_points=points | {"night": points["tail"]})

    revised, regenerated = revise_bundle(bundle, move)
    assert regenerated
    assert (copy / "README.md").read_text() == model_card(revised.manifest)
    assert load_bundle(copy).manifest == revised.manifest
    assert revised.manifest.metrics == bundle.manifest.metrics


def test_a_card_made_elsewhere_is_not_recognised() -> None:
    manifest = TinyModel().manifest()
    assert not is_generated(b"# tiny\n", manifest)
    assert not is_generated(b"", dataclasses.replace(manifest, metrics={"protocol": 1, "data": "x", "images": 1}))
