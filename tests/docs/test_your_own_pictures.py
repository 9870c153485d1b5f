"""The commands of the tutorial "Your own pictures" run as written, on a small folder, and print its sentences."""

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.bundle import load_bundle

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorials" / "your-own-pictures.md"
TIMEOUT_SECONDS = 540

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(TIMEOUT_SECONDS + 60),
    pytest.mark.skipif(find_spec("efficientnet_lite_pytorch") is None, reason="needs the groups train and backbones"),
]


def command(start: str) -> list[str]:
    """Return a command of the page without `uv run`, which needs the registry."""
    line = re.search(rf"^uv run .*python -m {start}.*$", PAGE.read_text(), re.MULTILINE)
    assert line is not None
    words = shlex.split(line[0])
    return [sys.executable, *words[words.index("python") + 1 :]]


def run(words: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "120"}
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_fit_and_serve_run_as_the_page_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label, colour in enumerate(((200, 60, 60), (60, 200, 60), (60, 60, 200))):
        folder = tmp_path / "photos" / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(10):
            noise = rng.integers(-40, 40, (64, 64, 3))
            Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    printed = run(command("training fit"), tmp_path)
    for sentence in ("α = 0", "label-free α", "tuned α", "logit adjustment", "linear head", "wrote ", "serve it with:"):
        assert sentence in printed
        assert sentence in PAGE.read_text()
    assert len(load_bundle(tmp_path / "my-models" / "animals" / "1").manifest.classes) == 3
    database = f"sqlite:///{tmp_path}/check.db"
    assert "ok: every model is loaded" in run([*command("service"), "--check", "--database", database], tmp_path)
