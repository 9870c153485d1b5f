"""Runs side by side, with every inference method that their heads allow, from features that are computed once."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.scores import Scores
from tests.training.conftest import TinyBackbone
from tests.training.run.test_run import options
from training.data import labelled_images as images_module
from training.data.options import DataOptions
from training.errors import DataError
from training.evaluation import compare as comparing
from training.evaluation.compare import compare, rows_of, tau_norm
from training.evaluation.evaluate import evaluate, same_figures
from training.export.export import export
from training.model.heads import LinearHead
from training.recipe.methods import with_method
from training.recipe.recipe import Recipe
from training.run.options import TrainOptions
from training.run.run_features import FILE_NAME, RunFeatures, load_features
from training.run.run_state import load_run
from training.run.train import train
from training.run.trained_model import restore_classifier


@pytest.fixture
def linear(archive: Path, tmp_path: Path, recipe: Recipe) -> Path:
    """A finished run with a linear head."""
    train(replace(with_method(recipe, "cross-entropy"), epochs=2), options(archive, tmp_path / "linear"))
    return tmp_path / "linear"


@pytest.fixture
def deconfounded(archive: Path, tmp_path: Path, recipe: Recipe) -> Path:
    """A finished run with the de-confounded head."""
    train(replace(recipe, epochs=2), options(archive, tmp_path / "deconfounded"))
    return tmp_path / "deconfounded"


def test_each_head_has_its_inference_methods(linear: Path, deconfounded: Path, tmp_path: Path) -> None:
    rows = compare([linear, deconfounded], None, tmp_path / "rows.json", tmp_path / "table.md")
    assert [(row.run, row.inference) for row in rows] == [
        ("linear", "none"), ("linear", "tau-norm"), ("linear", "logit adjustment"),
        ("deconfounded", "none"), ("deconfounded", "logit adjustment"),
        ("deconfounded", "TDE, label-free"), ("deconfounded", "TDE"),
    ]  # fmt: skip
    assert [row["inference"] for row in json.loads((tmp_path / "rows.json").read_text())] == [r.inference for r in rows]
    table = (tmp_path / "table.md").read_text().splitlines()
    assert len(table) == 2 + len(rows)
    assert {line.count("|") for line in table} == {11}


def test_the_figures_are_those_of_the_exported_bundle(deconfounded: Path, archive: Path, tmp_path: Path) -> None:
    rows = {row.inference: row.figures for row in rows_of(deconfounded)}
    protocol = evaluate(export(deconfounded, tmp_path / "models" / "tiny").path, archive, None, None)["protocol"]
    for inference, name in (("none", "zero"), ("TDE, label-free", "label_free"), ("TDE", "cross_fitted")):
        assert rows[inference]["overall"] == pytest.approx(protocol[name]["overall"])


def test_features_that_training_kept_are_not_computed_again(linear: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [row.figures for row in rows_of(linear)]
    monkeypatch.setattr(comparing, "load_test_images", None)
    assert [row.figures for row in rows_of(linear)] == expected


def test_export_scores_the_features_that_training_kept(
    deconfounded: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.export.write_bundle.run_graph", None)
    monkeypatch.setattr("training.export.write_bundle.pixels_to_compare", lambda images, _: images.fetch(np.arange(2)))
    decode = images_module.decode_image
    decoded = list[int]()
    monkeypatch.setattr(images_module, "decode_image", lambda *arguments: decoded.append(1) or decode(*arguments))
    kept = export(deconfounded, tmp_path / "models" / "kept").manifest.metrics["protocol"]
    assert len(decoded) == 2  # only the images to compare
    monkeypatch.undo()
    (deconfounded / FILE_NAME).unlink()
    monkeypatch.setattr("training.model.classifier.build_backbone", lambda *_: (TinyBackbone(), 8))
    run = export(deconfounded, tmp_path / "models" / "run").manifest.metrics["protocol"]
    assert same_figures(kept, run)


def test_export_finds_the_kept_features_of_a_list_in_any_order(
    folder: Path, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "test"):
        files = sorted(folder.glob(f"{split}/*/*.webp"), key=lambda file: file.name)  # classes mixed
        rows = [f"{file.relative_to(folder)} {file.parent.name}\n" for file in files]
        (tmp_path / f"{split}.txt").write_text("".join(rows))
    data = DataOptions(data=tmp_path / "train.txt", test=tmp_path / "test.txt", images=folder)
    train(replace(recipe, imbalance_ratio=None), TrainOptions(data=data, out=tmp_path / "run"))
    monkeypatch.setattr("training.export.write_bundle.run_graph", None)
    export(tmp_path / "run", tmp_path / "models" / "listed")


def test_the_authors_alpha_of_a_recipe_is_a_row_and_an_operating_point(
    archive: Path, tmp_path: Path, recipe: Recipe
) -> None:
    train(replace(recipe, authors_alpha=3.0), options(archive, tmp_path / "run"))
    point = export(tmp_path / "run", tmp_path / "models" / "with").manifest.operating_points["authors"]
    assert (point.alpha, point.chosen_by) == (3.0, "the authors' alpha, of recipe tiny; not tuned on any picture")
    row = next(row for row in rows_of(tmp_path / "run") if row.inference == "TDE, authors' α")
    assert (row.knob, row.figures["alpha"]) == (3.0, 3.0)


@pytest.mark.parametrize("damage", ["absent", "broken", "other weights"])
def test_unusable_kept_features_are_computed_again(linear: Path, deconfounded: Path, damage: str) -> None:
    expected = [row.figures["overall"] for row in rows_of(linear)]
    file = linear / FILE_NAME
    file.unlink()
    if damage == "broken":
        file.write_bytes(b"broken")
    if damage == "other weights":
        file.write_bytes((deconfounded / FILE_NAME).read_bytes())
    assert [row.figures["overall"] for row in rows_of(linear)] == expected
    state = load_run(linear)
    assert load_features(linear, restore_classifier(state), state.data.test_fingerprint) is not None


def linear_scores(head: LinearHead, found: RunFeatures, exempt: int | None = None) -> Scores:
    groups = ("many", "few", "few")[: len(head.weight)]
    return Scores(head(found.features).numpy(), np.zeros(len(groups), np.float32), found.labels, groups, exempt)


@torch.inference_mode()
def test_tau_norm_removes_the_advantage_of_long_weights() -> None:
    head = LinearHead(2, 2)
    head.weight.copy_(torch.tensor([[10.0, 0.0], [0.0, 1.0]]))  # the frequent class has the longer weights
    rare = torch.tensor([[0.2, 1.0]]).repeat(6, 1)
    found = RunFeatures(torch.cat((torch.flip(rare, (1,)), rare)), np.repeat([0, 1], 6))
    assert head(found.features).argmax(dim=1).tolist() == [0] * 12
    tau, figures = tau_norm(head, found, linear_scores(head, found))
    assert 0.3 < tau <= 1.5  # 0.2 · 10^(1 − τ) is below 1 from τ = 0.3 on
    assert figures["overall"] == figures["few"] == 1.0
    head.weight.div_(torch.tensor([[10.0], [1.0]]))
    head.class_scale.copy_(torch.tensor([10.0, 1.0]))  # the same weights, as factors of a second stage
    assert tau_norm(head, found, linear_scores(head, found)) == (tau, figures)


@torch.inference_mode()
def test_a_group_with_one_image_is_missing_from_one_half_and_has_no_figure() -> None:
    head = LinearHead(3, 3)
    head.weight.copy_(torch.eye(3))
    found = RunFeatures(torch.eye(3)[[0, 0, 0, 0, 1, 1, 1, 1, 2]], np.array([0, 0, 0, 0, 1, 1, 1, 1, 2]))
    plain = replace(linear_scores(head, found), groups=("many", "medium", "few"))
    assert tau_norm(head, found, plain)[1] | {"few": None} == tau_norm(head, found, plain)[1]


def test_features_of_other_pictures_are_not_kept(linear: Path, folder: Path, tmp_path: Path) -> None:
    kept = (linear / FILE_NAME).read_bytes()
    (tmp_path / "other" / "test").mkdir(parents=True)
    shutil.copytree(folder / "train", tmp_path / "other" / "test", dirs_exist_ok=True)
    assert rows_of(linear, tmp_path / "other")[0].figures != rows_of(linear)[0].figures
    assert (linear / FILE_NAME).read_bytes() == kept
    with pytest.raises(DataError, match="no such file or folder"):
        rows_of(linear, tmp_path / "nowhere")
