"""`python -m training evaluate --save`: what it writes into a bundle, and what stays unchanged to the last digit."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import load_bundle
from models.manifest import Manifest
from models.update import Revision, update_bundle
from tests.tiny_bundle import write_tiny_bundle
from tests.training.data.tiny_pictures import pictures, write_zip
from training import __main__ as cli
from training.data.files_to_choose_on import find_labelled_files
from training.evaluation.graph_scores import score_files

FILES = {f"test/{name}": data for name, data in pictures(200).items()}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_zip(tmp_path / "mine.zip", FILES)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "models")


def save(bundle: Path, data: Path) -> Manifest:
    assert cli.main(["evaluate", str(bundle), "--data", str(data), "--save"]) == 0
    return load_bundle(bundle).manifest


def revise_metrics(bundle: Path, metrics: dict[str, Any]) -> None:
    update_bundle(bundle, lambda now: Revision(dataclasses.replace(now.manifest, metrics=metrics)))


def test_figures_curve_and_calibration_are_saved(bundle: Path, data: Path, tmp_path: Path) -> None:
    before = load_bundle(bundle).manifest
    after = save(bundle, data)
    assert dataclasses.replace(after, metrics={}, sha256={}) == dataclasses.replace(before, metrics={}, sha256={})
    assert after.metrics["command"] == before.metrics["command"]  # a key that training does not write stays
    assert (after.metrics["images"], after.metrics["data"]) == (200, "mine.zip, test split")
    assert cli.main(["evaluate", str(bundle), "--data", str(data), "--json", str(tmp_path / "r.json")]) == 0
    assert after.metrics["protocol"] == json.loads((tmp_path / "r.json").read_text())["protocol"]


def test_the_curve_is_the_accuracy_at_its_alphas(bundle: Path, data: Path) -> None:
    curve = save(bundle, data).metrics["curve"]
    scores, _ = score_files(load_bundle(bundle), find_labelled_files(data, tuple(f"class {i}" for i in range(5)))[0])
    images = scores.labelled_intervals()
    assert (curve["alphas"][0], curve["alphas"][-1], 0.0 in curve["alphas"]) == (-2.0, 5.0, True)
    assert list(curve["figures"]) == ["overall", "balanced", "many", "medium", "few"]
    for name, values in curve["figures"].items():
        np.testing.assert_allclose(values, images.curve(name).at(np.array(curve["alphas"])), atol=5.1e-5)  # 4 digits


def test_the_calibration_is_finite_for_every_class(bundle: Path, data: Path) -> None:
    calibration = save(bundle, data).metrics["calibration"]
    assert 0 < calibration["temperature"] < np.inf
    assert np.isfinite(calibration["bias"]).all()
    assert (len(calibration["bias"]), calibration["images"], calibration["data"]) == (5, 200, "mine.zip, test split")


def test_confirmed_figures_stay_to_the_last_digit(bundle: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = copy.deepcopy(save(bundle, data).metrics)
    metrics["protocol"]["cross_fitted"]["ece"] += 3e-7  # a difference between two processors
    del metrics["curve"]
    revise_metrics(bundle, metrics)
    again = save(bundle, data)
    assert "its figures are confirmed and stay as they were" in capsys.readouterr().out
    assert again.metrics["protocol"] == metrics["protocol"]
    assert "curve" in again.metrics


def test_figures_that_differ_are_replaced(bundle: Path, data: Path) -> None:
    first = save(bundle, data)
    metrics = copy.deepcopy(first.metrics)
    metrics["protocol"]["zero"]["overall"] += 0.005  # one picture of 200
    revise_metrics(bundle, metrics)
    assert save(bundle, data).metrics == first.metrics


def test_without_save_the_bundle_is_only_read(bundle: Path, data: Path) -> None:
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in bundle.iterdir()}
    assert cli.main(["evaluate", str(bundle), "--data", str(data)]) == 0
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in bundle.iterdir()} == before
