"""The libraries of the service send no telemetry."""

import os
import subprocess
import sys
from pathlib import Path

from models.bundle import Bundle

ROOT = Path(__file__).parents[3]


def test_onnx_runtime_sends_no_telemetry(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Since 1.32 it stores events in a file in the home directory and resolves the vendor's host name."""
    environment = {k: v for k, v in os.environ.items() if k not in {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}}
    models = ["--models", str(tiny_bundle.path.parent.parent), "--database", f"sqlite:///{tmp_path}/x.db"]
    command = [sys.executable, "-m", "service", "--check", *models]
    home = tmp_path / "home"
    subprocess.run(command, cwd=ROOT, env=environment | {"HOME": str(home)}, check=True, capture_output=True)
    assert not home.exists() or not [path for path in home.rglob("*") if path.is_file()]
