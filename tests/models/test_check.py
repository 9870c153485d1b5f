"""`python -m models check` says what a bundle is, or why it is none."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from models.__main__ import main
from models.bundle import Bundle
from tests.tiny_bundle import TinyModel, write_tiny_bundle


def test_check_says_what_a_bundle_is(tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tiny_bundle.path)]) == 0
    printed = capsys.readouterr().out
    for part in (
        f"tiny/1: classification, format 1, in {tiny_bundle.path}\n",
        "shorter side to 8 px, centre crop 8 x 8 px",
        "K = 2 heads, tau = 16, gamma = 0.03125, D = 8 features, exempt class: none\n",
        "5: 2 many-shot, 1 medium-shot, 2 few-shot (over 100, 20 to 100, under 20 training images); 745 training",
        "label_free  alpha 1.25      for tests: 1.25\n",
        "    seed: 0\n",
        "sha256 of README.md, head.safetensors, model.onnx: verified",
    ):
        assert part in printed


def test_check_prints_the_accuracy_table(tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", str(tiny_bundle.path)])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    header = next(row for row in rows if row[:1] == ["alpha"] and "overall" in row)
    fitted = next(row for row in rows if row[:1] == ["cross_fitted"])
    table = dict(zip(header, fitted[1:], strict=True))
    assert (table["alpha"], table["many"], table["worst_class"], table["ece"]) == ("1.5", "50.00%", "25.00%", "12.50%")


def test_check_sums_up_curve_and_calibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = TinyModel()
    metrics = {
        "curve": {"alphas": [-2.0, 0.0, 5.0], "figures": {"overall": [0.1, 0.2, 0.3], "few": [0.1, 0.2, 0.3]}},
        "calibration": {"temperature": 0.96, "bias": [-0.5, 0.0, 0.1, 0.2, 0.3], "images": 9, "data": "x.zip"},
    }
    path = model.write(tmp_path, dataclasses.replace(model.manifest(), metrics=metrics))
    assert main(["check", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "    curve: overall, few at 3 alphas from -2 to 5\n" in printed
    assert "    calibration: temperature 0.96, bias of 5 classes -0.5 to 0.3, on x.zip\n" in printed


@pytest.mark.parametrize("strange", [None, 1, [], {}, {"alphas": [], "figures": {}}, {"bias": [], "temperature": "x"}])
def test_check_shows_metrics_of_another_form_as_they_are(
    tmp_path: Path, strange: object, capsys: pytest.CaptureFixture[str]
) -> None:
    model = TinyModel()
    metrics = {"curve": strange, "calibration": strange}
    path = model.write(tmp_path, dataclasses.replace(model.manifest(), metrics=metrics))
    assert main(["check", str(path)]) == 0
    assert f"    curve: {strange}\n    calibration: {strange}\n" in capsys.readouterr().out


def test_check_says_why_a_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (write_tiny_bundle(tmp_path) / "model.onnx").unlink()
    assert main(["check", str(tmp_path / "tiny" / "1")]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "bundle tiny/1: model.onnx is missing\n")


def test_one_bad_bundle_does_not_hide_the_good_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, version in (("a", 1), ("b", 1), ("b", 2)):
        write_tiny_bundle(tmp_path, name, version)
    (tmp_path / "b" / "1" / "README.md").write_text("changed")
    assert main(["check", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert [line.split(":")[0] for line in printed.out.splitlines() if line.startswith(("a/", "b/"))] == ["a/1", "b/2"]
    assert printed.err.startswith("bundle b/1: README.md is not the file that was saved")


def test_all_versions_of_a_model_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for version in (2, 10):
        write_tiny_bundle(tmp_path, version=version)
    (tmp_path / "tiny" / ".cache").mkdir()
    assert main(["check", str(tmp_path / "tiny")]) == 0
    printed = capsys.readouterr().out
    assert printed.index("tiny/2:") < printed.index("tiny/10:")


@pytest.mark.parametrize(
    ("folder", "sentence"),
    [("nowhere", "there is no folder"), ("empty", "manifest.json is missing"), ("odd", "bundles lie as NAME/VERSION")],
)
def test_a_folder_without_bundles_is_refused(
    tmp_path: Path, folder: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd" / "src" / "lib").mkdir(parents=True)
    assert main(["check", str(tmp_path / folder)]) == 2
    assert sentence in capsys.readouterr().err


def test_the_command_runs_from_the_shell(tiny_bundle: Bundle) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "models", "check", str(tiny_bundle.path), "nowhere/7"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stderr.strip()[:38]) == (2, "bundle nowhere/7: there is no folder /")
    assert done.stdout.startswith("tiny/1: classification")


def test_a_reader_who_closes_the_pipe_gets_no_traceback(tiny_bundle: Bundle) -> None:
    command = f"{sys.executable} -m models check {tiny_bundle.path} | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
