"""The arrows between the packages, and what starting the service may not load."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def imported_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_service_starts_without_torch() -> None:
    assert not imported_by("service.app") & {"torch", "torchvision", "training", "onnx", "matplotlib", "openvino"}


def test_models_needs_neither_a_server_nor_a_runtime() -> None:
    strangers = {"fastapi", "onnxruntime", "service", "training", "torch"}
    assert not imported_by("models.bundle, models.preprocess") & strangers


def test_serving_dependencies_hold_no_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    serving = project["project"]["dependencies"] + project["dependency-groups"]["cpu"]
    assert not [line for line in serving if line.startswith(("torch", "onnx>", "matplotlib"))]


@pytest.mark.parametrize("package", ["models", "service", "training"])
def test_every_file_fits_a_sitting(package: str) -> None:
    too_long = {
        path: lines for path in (ROOT / package).rglob("*.py") if (lines := len(path.read_text().split("\n"))) > 301
    }
    assert not too_long
