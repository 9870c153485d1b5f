"""Two processes train like one, fail together, and can be resumed after one of them was killed."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.conftest import TinyBackbone
from tests.training.run.test_run import ROOT, options, same
from tests.training.run.two_processes import (
    batch_norms,
    cases,
    command,
    in_two,
    one_step,
    stopped_after_two,
    weights_for,
    work,
)
from training import __main__ as cli
from training.data.augmentation.random_numbers import SharedGenerator, integers, uniform
from training.errors import TrainingError
from training.model import classifier
from training.recipe.recipe import Recipe
from training.run.device import set_threads
from training.run.distributed import World
from training.run.run_state import RunState, load_run
from training.run.train import train

RECIPE = Recipe(
    name="tiny", height=8, width=8, resize=8, imbalance_ratio=4.0, warmup_epochs=1, schedule="cosine", crop_padding=1,
    cutout=2, auto_augment=True, evaluate_every=2,
)  # fmt: skip
pytestmark = pytest.mark.timeout(300)  # two processes import torch, on a machine that may be busy
CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # float32, some 15 steps; each differs in the order sums are rounded in


@pytest.fixture(scope="module")
def two(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the results of two processes, see `two_processes.py`."""
    out = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch, stopped_after_two():
        patch.setattr(classifier, "build_backbone", lambda *_: (TinyBackbone(), 8))
        train(cases(RECIPE)["crt"], options(folder, out / "from one to two"))
    in_two(work, RECIPE, folder, out)
    return out


@pytest.fixture(scope="module")
def found(two: Path) -> list[dict[str, Any]]:
    """The results of each process, by rank."""
    return [torch.load(two / f"{rank}.pt", weights_only=True) for rank in range(2)]


def check_alike(one: RunState, two: RunState) -> None:
    """Compare weights, averages, means and history, within rounding."""
    first = one.to_checkpoint()
    second = two.to_checkpoint()
    for part in ("model", "average"):
        for name, value in (first[part] or {}).items():
            torch.testing.assert_close(
                second[part][name], value, **CLOSE, msg=lambda text, name=name: f"{name}: {text}"
            )
    torch.testing.assert_close(second["mean_feature"], first["mean_feature"], **CLOSE)
    torch.testing.assert_close(second["mean_head_cosine"], first["mean_head_cosine"], **CLOSE)
    for row, other in zip(one.history, two.history, strict=True):
        assert other | {"images_per_second": 0.0} == pytest.approx(row | {"images_per_second": 0.0}, abs=1e-4)


@pytest.mark.parametrize("name", cases(RECIPE))
def test_two_processes_train_what_one_does(
    name: str, found: list[dict[str, Any]], two: Path, folder: Path, tmp_path: Path, recipe: Recipe
) -> None:
    case = cases(RECIPE)[name]
    one = train(case, options(folder, tmp_path, weights=weights_for(case)))
    both = [RunState.from_checkpoint(found[rank][name]) for rank in range(2)]
    check_alike(one, both[0])
    check_alike(one, load_run(two / name))
    assert same(*both)  # both have the same weights to the last bit
    assert both[0].place.hardware.startswith("2 x ")
    assert (two / name / "test_features.safetensors").exists()


def test_mixup_mixes_within_a_process_and_leaves_all_with_the_same_weights(found: list[dict[str, Any]]) -> None:
    mixed = [RunState.from_checkpoint(found[rank]["mixup"]) for rank in range(2)]
    assert same(*mixed)
    for rank in range(2):
        assert not same(mixed[rank], RunState.from_checkpoint(found[rank]["not mixed"]))
        assert found[rank]["mixed within"] == [True]  # it has one batch


def test_a_run_is_resumed_with_another_number_of_processes(
    found: list[dict[str, Any]], two: Path, folder: Path, tmp_path: Path, recipe: Recipe
) -> None:
    whole = train(cases(RECIPE)["crt"], options(folder, tmp_path))
    assert load_run(two / "from two to one").epochs_done == 2
    check_alike(whole, train(cases(RECIPE)["crt"], options(folder, two / "from two to one", resume=True)))
    check_alike(whole, RunState.from_checkpoint(found[1]["from one to two"]))


def test_only_the_first_process_writes(two: Path, found: list[dict[str, Any]]) -> None:
    assert len(found) == 2
    assert not (two / "of another machine").exists()
    assert not (two / "diverged" / "checkpoint.pt").exists()


def test_batch_norm_sees_the_images_of_all_processes(found: list[dict[str, Any]]) -> None:
    for rank in range(2):
        for plain, shared in zip(batch_norms(), found[rank]["batch norms"], strict=True):
            alone = one_step(plain, World())
            assert alone.keys() == shared.keys()
            for name, value in alone.items():
                torch.testing.assert_close(shared[name], value, msg=lambda text, name=name: f"{name}: {text}")


def test_processes_exchange_rows_texts_bytes_and_means(found: list[dict[str, Any]]) -> None:
    for each in found:
        assert each["gathered"].flatten().tolist() == list(range(7))
        assert each["texts"] == ["", "ä"]
        assert each["broadcast"] == [b"content", None]
        assert each["mean"].tolist() == [1.0, 1.5]


def test_an_error_in_one_process_is_raised_in_all_of_them(found: list[dict[str, Any]]) -> None:
    for each in found:
        assert each["together"] == "process 0: other trouble\nprocess 1: trouble of 1"
        assert each["agree"] == "the processes differ in colour: process 0 has colour 0; process 1 has colour 1"
        assert "2 processes cannot share a batch of 7 images equally" in each["refused batch"]
        assert each["refused data"].startswith("process 1: ")
        assert each["refused data"].endswith("nowhere: no such file or folder")
        assert each["refused test set"].startswith("the processes differ in test set: process 0 has 18 images, finger")
        assert "process 1 has 17 images" in each["refused test set"]
        assert each["diverged"].startswith("epoch 1: training diverged (loss ")
        assert "already holds a run; add --resume" in each["refused resume"]
        assert "`export` runs in one process" in each["refused command"]


@pytest.mark.parametrize("images", [0, 1])
def test_an_image_gets_the_same_random_numbers_with_any_number_of_processes(images: int) -> None:
    shape = [2, 2, 3]
    shape[images] = 12
    whole = torch.Generator().manual_seed(0)
    expected = [uniform(shape, whole, images=images), integers(9, shape, whole, images=images)]
    for size in (1, 2, 3):
        shape[images] = 12 // size
        for rank in range(size):
            generator = SharedGenerator.seeded(0, rank=rank, size=size)
            own = (slice(None),) * images + (slice(rank, None, size),)
            assert torch.equal(uniform(shape, generator, images=images), expected[0][own])
            assert torch.equal(integers(9, shape, generator, images=images), expected[1][own])


def test_torchruns_variables_are_read_or_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert World.from_environment({}).size == 1
    said = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    world = World.from_environment(said)
    assert (world.rank, world.size, world.local_rank, world.local_size, world.first) == (5, 8, 1, 4, False)
    assert world.launcher == "torchrun --nnodes 2 --nproc-per-node 4"
    with pytest.raises(TrainingError, match=r"LOCAL_RANK='x'.*not what torchrun sets"):
        World.from_environment(said | {"LOCAL_RANK": "x"})
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert cli.main(["train", "cifar10-lt", "--data", "x", "--out", "y"]) == 2
    assert "WORLD_SIZE=''" in capsys.readouterr().err


def test_processes_on_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr("training.run.device.CORES", 9)
    for threads, local_size in ((None, 1), (None, 2), (None, 16), (3, 1), (3, 2)):
        set_threads(threads, local_size)
    assert chosen == [4, 1, 3, 3]


def test_torch_uses_no_more_threads_than_a_containers_limit_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr("training.run.device.CORES", 2)
    set_threads(None, 1)
    assert chosen == [2]


def words(data: Path, out: Path) -> list[str]:
    """Return a command that trains on small pictures."""
    said = "train cifar10-lt-strong --imbalance-ratio 4 --epochs 6 --set batch_size=8 --device cpu --threads 1 --data"
    return [*said.split(), str(data), "--out", str(out)]


def start(command: list[str]) -> list[subprocess.Popen[str]]:
    """Start a command in two processes, as torchrun would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        numbers = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": free.getsockname()[1]}
    common = os.environ | {"MASTER_ADDR": "127.0.0.1"} | {name: str(number) for name, number in numbers.items()}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "training", *command],
            cwd=ROOT, env=common | {"RANK": rank, "LOCAL_RANK": rank}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in "01"
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)  # five processes import torch, on a machine that may be busy
def test_a_killed_process_ends_the_others_and_torchrun_resumes_the_run(folder: Path, tmp_path: Path) -> None:
    first, second = start(words(folder, tmp_path / "killed"))
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("epoch   2/6"):  # so epoch 1 has its checkpoint
            second.send_signal(signal.SIGKILL)
            break
    _, said = first.communicate(timeout=30)
    assert first.returncode == 1
    assert said.startswith("error: process 0 of 2 lost the others: one of them was killed")
    assert said.count("\n") == 1
    second.communicate()
    assert 1 <= load_run(tmp_path / "killed").epochs_done < 6

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "training"]
    again = [*torchrun, *words(folder, tmp_path / "killed"), "--resume"]
    done = subprocess.run(again, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    in_two(command, *words(folder, tmp_path / "whole"))
    assert same(load_run(tmp_path / "whole"), load_run(tmp_path / "killed"))
