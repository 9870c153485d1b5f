"""Every benchmark script runs from start to report, with the smallest input it takes.

The figures of such a run mean nothing, so no test looks at them. `soak.py` and `overload.py` exit with 1 if a bar is
missed, which a busy machine may cause: for those a report is enough.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engines.openvino import has_bfloat16
from models.bundle import load_bundle

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
CIFAR10 = ROOT / "models" / "shipped" / "cifar10-lt" / "2"
TIMEOUT_SECONDS = 600

pytestmark = [pytest.mark.slow, pytest.mark.timeout(TIMEOUT_SECONDS + 60)]
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="needs torch (make test-slow installs it)")
needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk, Debian's package of that name")


def run(script: str, *arguments: object, expected: tuple[int, ...] = (0,)) -> str:
    """Run a script as its README says, and return what it printed."""
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    assert done.returncode in expected, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a zip of train/CLASS/IMAGE and test/CLASS/IMAGE with cifar10-lt's classes and random pictures."""
    path = tmp_path_factory.mktemp("data") / "pictures.zip"
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for each in load_bundle(CIFAR10).manifest.classes:
            for split, count in (("train", 8), ("test", 4)):
                for number in range(count):
                    encoded = BytesIO()
                    Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(encoded, "PNG")
                    archive.writestr(f"{split}/{each.name}/{number}.png", encoded.getvalue())
    return path


@needs_wrk
def test_serve_measures_our_service_and_a_peer_and_report_reads_its_file(tmp_path: Path) -> None:
    peers = ["fastapi"] if (BENCHMARKS / ".peers" / "fastapi" / "bin").is_dir() else []
    figures = tmp_path / "figures.json"
    arguments = ["--models-under-test", "32x32", "--concurrency", 1, "--rounds", 1, "--seconds", 1, "--json", figures]
    assert "### 32x32" in run("serve.py", "--servers", "longtail", *peers, *arguments)
    assert {record["server"] for record in json.loads(figures.read_text())["records"]} == {"longtail", *peers}
    assert "### 32x32" in run("report.py", figures)


@needs_wrk
def test_serve_compares_two_checkouts(tmp_path: Path) -> None:
    for package in ("models", "engines", "service"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "shipped"))
    arguments = ["--pairs", 1, "--models-under-test", "32x32", "--concurrency", 1, "--seconds", 1]
    assert "| 32x32 | 1 | 1 |" in run("serve.py", "--beside", tmp_path, *arguments)


@needs_wrk
def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    arguments = [sys.executable, str(BENCHMARKS / "serve.py"), "--beside", str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "give the folder of another checkout" in done.stderr


@needs_wrk
def test_alpha_cost() -> None:
    arguments = ["--models-under-test", "32x32", "--rounds", 1, "--seconds", 1, "--concurrency", 2]
    assert "### 32x32" in run("alpha_cost.py", *arguments)


@needs_torch
def test_make_bundle(tmp_path: Path) -> None:
    assert "differs from torch by" in run("make_bundle.py", "--out", tmp_path)
    assert load_bundle(tmp_path / "mobilenet-v3-large" / "1").manifest.input.height == 224


@needs_torch
def test_precision(pictures: Path) -> None:
    report = run("precision.py", "cifar10-lt", "--data", pictures, "--rounds", 1, "--seconds", 0.1)
    assert "OpenVINO, float32" in report
    assert ("OpenVINO, bfloat16" in report) == has_bfloat16()


def test_decode() -> None:
    assert "seconds a picture" in run("decode.py", "--rounds", 1)


def test_tune() -> None:
    assert "400 images x 10 classes" in run("tune.py", "--size", 400, 10, "--rounds", 1)


@needs_torch
def test_estimate_prior(pictures: Path) -> None:
    assert "cifar10-lt: temperature" in run("estimate_prior.py", "cifar10-lt", "--data", pictures)


@needs_torch
def test_train() -> None:
    arguments = ["--recipe", "cifar10-lt", "--rounds", 1, "--steps", 1, "--threads", 1, "--device", "cpu"]
    assert "cifar10-lt" in run("train.py", *arguments)


@needs_torch
@pytest.mark.skipif(find_spec("efficientnet_lite_pytorch") is None, reason="needs the group backbones")
def test_features() -> None:
    assert "images/s" in run("features.py", "efficientnet_lite0", "--images", 16, "--rounds", 1)


@needs_torch
def test_enlarged_pictures(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "photos"
    run("enlarged_pictures.py", pictures, out, "--largest", 4, "--imbalance-ratio", 2, "--test", 1, "--side", 64)
    assert len(list(out.rglob("*.jpg"))) > 10


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="reads /proc")
def test_soak(tmp_path: Path) -> None:
    plot = tmp_path / "soak.svg"
    files = ["--json", tmp_path / "soak.json", "--plot", plot]
    run("soak.py", "--minutes", 1, "--concurrency", 4, *files, expected=(0, 1))
    assert plot.read_text().startswith("<svg")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="reads /proc")
def test_overload(tmp_path: Path) -> None:
    figures = tmp_path / "overload.json"
    run("overload.py", "--minutes", 2, "--json", figures, expected=(0, 1))
    assert json.loads(figures.read_text())


@pytest.mark.parametrize("script", sorted(path.name for path in BENCHMARKS.glob("*.py")))
def test_every_script_is_run_here_or_used_by_one_that_is(script: str) -> None:
    modules = {"beside", "ceiling", "load", "machine", "made_up_pictures", "photo", "plain_training", "processes"}
    modules |= {"servers", "stopwatch"}
    text = Path(__file__).read_text()
    assert f'run("{script}"' in text or script.removesuffix(".py") in modules


def test_peers_are_named_by_the_set_up_script() -> None:
    assert "fastapi" in run("peers/setup.py", "--help")
