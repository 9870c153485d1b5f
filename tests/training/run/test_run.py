"""From a data set to a run, a bundle and its figures, and the errors on the way."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.bundle import load_bundle
from models.errors import BundleExistsError
from training import __main__ as cli
from training.errors import CheckpointError, DataError, ExportError, TrainingError
from training.evaluation.evaluate import evaluate, same_figures
from training.export import write_bundle as writing
from training.export.export import export
from training.recipe.recipe import Recipe
from training.run.checkpoint import CHECKPOINT_NAME, load_checkpoint, save_checkpoint
from training.run.options import TrainOptions
from training.run.run_state import RunState, load_run, save_run
from training.run.train import train

ROOT = Path(__file__).parents[3]
PROTOCOL = {"zero", "label_free", "cross_fitted", "hindsight"}
FIGURES = {"overall", "many", "medium", "few", "balanced", "harmonic", "geometric", "worst_class", "macro_f1", "ece"}


def options(data: Path, out: Path, **others: Any) -> TrainOptions:
    return TrainOptions(data=data, out=out, device="cpu", precision="float32", **others)


def same(one: RunState, two: RunState) -> bool:
    """Two finished runs have the same weights, mean feature and history, to the last bit."""
    figures = [
        [{k: v for k, v in row.items() if k != "images_per_second"} for row in run.history] for run in (one, two)
    ]
    models = [run.trainer.model for run in (one, two) if run.trainer]
    weights = all(torch.equal(value, models[1][name]) for name, value in models[0].items())
    means = [run.means.mean_feature for run in (one, two) if run.means]
    return figures[0] == figures[1] and weights and torch.equal(*means)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_run_becomes_a_bundle_and_evaluating_it_gives_the_same_figures(
    archive: Path, tmp_path: Path, recipe: Recipe, ema: float | None
) -> None:
    state = train(replace(recipe, ema_decay=ema), options(archive, tmp_path / "run"))
    bundle = export(tmp_path / "run", tmp_path / "models" / "tiny")
    report = evaluate(bundle.path, archive, tmp_path / "figures.json", tmp_path / "curve.png")
    assert bundle.path.parts[-2:] == ("tiny", "1")
    assert load_bundle(bundle.path).manifest.classes[0].training_count == 24
    assert same_figures(report["protocol"], bundle.manifest.metrics["protocol"])  # computed from torch's features
    assert json.loads((tmp_path / "figures.json").read_text())["protocol"].keys() == PROTOCOL
    assert all(figures.keys() >= FIGURES | {"alpha"} for figures in report["protocol"].values())
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert state.data.class_counts == (24, 12, 6)
    assert not list(tmp_path.rglob("*.part"))


def test_training_learns_three_colours(archive: Path, tmp_path: Path, recipe: Recipe) -> None:
    state = train(replace(recipe, epochs=12, auto_augment=False, cutout=0), options(archive, tmp_path))
    assert state.history[-1]["test_accuracy"] > 0.9


@pytest.mark.parametrize(
    "changes", [{}, {"ema_decay": 0.9}, {"mean_feature": "running"}], ids=["plain", "ema", "running"]
)
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    folder: Path, tmp_path: Path, recipe: Recipe, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(recipe, **changes)
    whole = train(recipe, options(folder, tmp_path / "whole"))

    def stop_after_two(run: Path, state: RunState) -> None:
        save_run(run, state)
        if state.epochs_done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("training.run.train.save_run", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, options(folder, tmp_path / "parts"))
    monkeypatch.setattr("training.run.train.save_run", save_run)
    assert same(whole, train(recipe, options(folder, tmp_path / "parts", resume=True)))


@pytest.mark.slow
@pytest.mark.timeout(600)  # three processes import torch, on a machine that may be busy
def test_a_killed_process_resumes_to_the_same_weights(folder: Path, tmp_path: Path) -> None:
    def command(out: str, *more: str) -> list[str]:
        arguments = (
            f"train cifar10-lt-strong --imbalance-ratio 4 --epochs 6 --device cpu --threads 1 --data {folder} --out"
        )
        return [sys.executable, "-m", "training", *arguments.split(), str(tmp_path / out), *more]

    subprocess.run(command("whole"), cwd=ROOT, check=True, capture_output=True)
    with subprocess.Popen(command("killed"), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if re.match(r"epoch +2/6", line):  # so epoch 1 has its checkpoint
                process.send_signal(signal.SIGKILL)
    assert 1 <= load_run(tmp_path / "killed").epochs_done < 6
    subprocess.run(command("killed", "--resume"), cwd=ROOT, check=True, capture_output=True)
    assert same(load_run(tmp_path / "whole"), load_run(tmp_path / "killed"))


def test_two_runs_in_one_folder_are_refused(folder: Path, tmp_path: Path, recipe: Recipe) -> None:
    recipe = replace(recipe, epochs=1)
    train(recipe, options(folder, tmp_path))
    with pytest.raises(CheckpointError, match="already holds a run; add --resume"):
        train(recipe, options(folder, tmp_path))
    with pytest.raises(CheckpointError, match="started with seed 0, not 1"):
        train(recipe, options(folder, tmp_path, seed=1, resume=True))
    with pytest.raises(CheckpointError, match=r"started with tau 16\.0, not 8\.0"):
        train(replace(recipe, tau=8.0), options(folder, tmp_path, resume=True))


def test_a_failed_write_keeps_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, {"epochs_done": 1})

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tmp_path, {"epochs_done": 2})
    assert load_checkpoint(tmp_path)["epochs_done"] == 1


def test_a_checkpoint_that_carries_code_or_is_broken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(tmp_path)
    torch.save({"format": 1, "code": cli.main}, tmp_path / CHECKPOINT_NAME)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path)
    (tmp_path / CHECKPOINT_NAME).write_bytes(b"half")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path)


@pytest.fixture
def finished(archive: Path, tmp_path: Path, recipe: Recipe) -> Path:
    """A finished run of one epoch."""
    train(replace(recipe, epochs=1), options(archive, tmp_path / "run"))
    return tmp_path / "run"


def test_a_graph_that_disagrees_with_torch_is_not_written(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = writing.to_onnx
    monkeypatch.setattr(writing, "to_onnx", lambda model, mean, recipe: honest(model, mean.flip(0), recipe))
    with pytest.raises(ExportError, match="ONNX Runtime and torch differ by"):
        export(finished, tmp_path / "models" / "tiny")
    assert not (tmp_path / "models").exists()


def test_a_run_that_cannot_become_a_bundle_is_refused(
    finished: Path, tmp_path: Path, archive: Path, recipe: Recipe
) -> None:
    state = load_checkpoint(finished)
    state.pop("format")
    save_checkpoint(finished, state | {"finished": False, "epochs_done": 0})
    with pytest.raises(CheckpointError, match="stopped after 0 of 1 epochs"):
        export(finished, tmp_path / "models" / "tiny")
    save_checkpoint(finished, state | {"model": {"other": torch.zeros(1)}})
    with pytest.raises(CheckpointError, match="of another network"):
        export(finished, tmp_path / "models" / "tiny")
    with pytest.raises(ExportError, match="a model name consists of lowercase letters"):
        export(finished, tmp_path / "models" / "Tiny Model")
    (tmp_path / "models" / "tiny" / "1").mkdir(parents=True)
    with pytest.raises(BundleExistsError, match="already exists"):
        export(finished, tmp_path / "models" / "tiny" / "1")
    train(replace(recipe, epochs=1, head="linear"), options(archive, tmp_path / "linear"))
    with pytest.raises(ExportError, match="TDE is not defined for it"):
        export(tmp_path / "linear", tmp_path / "models" / "linear")


def test_a_test_set_with_an_unknown_class_is_refused(finished: Path, tmp_path: Path, folder: Path) -> None:
    for name in ("blue", "green", "violet"):
        (tmp_path / "data" / "test" / name).mkdir(parents=True)
        (tmp_path / "data" / "test" / name / "1.webp").write_bytes((folder / "test/red/00000.webp").read_bytes())
    with pytest.raises(DataError, match=r"does not know 1 of these classes, .*: violet"):
        export(finished, tmp_path / "models" / "tiny", {"data": tmp_path / "data"})


def test_bfloat16_trains_too(folder: Path, tmp_path: Path, recipe: Recipe) -> None:
    state = train(replace(recipe, epochs=1), replace(options(folder, tmp_path), precision="bfloat16"))
    assert np.isfinite(state.history[0]["loss"])


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("g++"), reason="torch.compile needs a C++ compiler on the CPU, and g++ is not here"
)
@pytest.mark.timeout(600)  # a C++ compiler runs, on a machine that may be busy
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_a_compiled_network_trains_like_the_plain_one(folder: Path, tmp_path: Path, recipe: Recipe) -> None:
    recipe = replace(recipe, epochs=2)
    plain = train(recipe, options(folder, tmp_path / "plain"))
    compiled = train(recipe, options(folder, tmp_path / "compiled", compiled=True))
    assert plain.trainer
    assert compiled.trainer
    for name, value in plain.trainer.model.items():  # the compiler adds in another order; ten steps
        torch.testing.assert_close(compiled.trainer.model[name], value, rtol=1e-3, atol=1e-3)


def test_compiling_in_bfloat16_on_a_cpu_is_refused(folder: Path, tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(TrainingError, match=r"--compile: on a CPU, .* or add --precision float32"):
        train(recipe, replace(options(folder, tmp_path / "run", compiled=True), precision="bfloat16"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)  # torch is loaded anew, on a machine that may be busy
def test_compiling_without_a_compiler_is_a_one_sentence_error(folder: Path, tmp_path: Path) -> None:
    words = ["train", "cifar10-lt", "--data", str(folder), "--out", str(tmp_path / "run"), "--imbalance-ratio", "none"]
    nothing_kept = {"CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "training", *words, "--compile", "--epochs", "1", "--precision", "float32"],
        cwd=ROOT,
        env=os.environ | nothing_kept,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "error: --compile: torch cannot compile the network here (InvalidCxxCompiler: No working" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("train nope --data DATA --out OUT", "unknown recipe 'nope'; recipes: cifar10-lt"),
        ("train cifar10-lt --data nowhere --out OUT", "nowhere: no such file or folder"),
        ("train cifar10-lt --data DATA --out OUT --imbalance-ratio 0.5", "imbalance ratio 0.5 is below 1"),
        ("train cifar10-lt --data DATA --out OUT --epochs 0", "--epochs 0: must be at least 1"),
        ("train cifar10-lt --data DATA --out OUT --device cuda", "torch sees no CUDA device"),
        ("export OUT --out models/x", "no checkpoint.pt here"),
        ("evaluate nowhere/1 --data DATA", "bundle nowhere/1"),
        ("evaluate nowhere/1 --data DATA --plot curve.gif", "must end in .svg, .png or .pdf"),
        ("evaluate nowhere/1 --data DATA --json no/folder/f.json", "the folder no/folder does not exist"),
    ],
)
def test_an_error_the_user_can_fix_is_one_sentence_and_exit_code_2(
    arguments: str, sentence: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    words = [{"DATA": str(folder), "OUT": str(tmp_path / "out")}.get(word, word) for word in arguments.split()]
    assert cli.main(words) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
