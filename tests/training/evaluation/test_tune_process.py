"""`python -m training tune` as a separate process: killed, and with a bundle it may not write."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.bundle import load_bundle
from tests.tiny_bundle import write_tiny_bundle
from tests.training.data.tiny_pictures import pictures, write_zip

ROOT = Path(__file__).parents[3]
WITHOUT_PRIVILEGES = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # importing torch is slow on a busy computer


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "models")


@pytest.fixture
def command(bundle: Path, tmp_path: Path) -> list[str]:
    data = write_zip(tmp_path / "mine.zip", pictures(200))
    return [sys.executable, "-u", "-m", "training", "tune", str(bundle), "--data", str(data), "--save-as", "night"]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("line_to_die_at", ["tiny version 1", "Expected", "all classes", "saved as night"])
def test_a_kill_at_any_line_leaves_a_valid_bundle(bundle: Path, command: list[str], line_to_die_at: str) -> None:
    before = contents(bundle)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line_to_die_at in line for line in process.stdout)
        process.send_signal(signal.SIGKILL)
    saved = "night" in load_bundle(bundle).manifest.operating_points
    assert saved or contents(bundle) == before
    assert saved or line_to_die_at != "saved as night"  # printed only once it is on disk
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert "night" in load_bundle(bundle).manifest.operating_points
    assert [entry.name for entry in bundle.parent.iterdir()] == ["1"]


def test_a_bundle_that_may_not_be_written_is_refused_before_any_work(bundle: Path, command: list[str]) -> None:
    before = contents(bundle)
    bundle.chmod(0o555)
    done = subprocess.run([*WITHOUT_PRIVILEGES, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    bundle.chmod(0o755)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: bundle tiny/1: the folder {bundle} cannot be written; copy the bundle" in done.stderr
    assert contents(bundle) == before
