"""The work of two processes that train together, started once for all tests of `test_distributed.py`."""

import multiprocessing
import os
import shutil
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist
from torch import nn

import training.model.classifier
import training.run.trainer
from tests.training.conftest import TinyBackbone
from training import __main__ as cli
from training.cli.run_command import parse_together
from training.data.augmentation.augment import mixup
from training.errors import DataError, TrainingError
from training.recipe.methods import with_method
from training.recipe.recipe import Recipe
from training.run.batch_norm import share_batch_norm
from training.run.distributed import World
from training.run.options import TrainOptions
from training.run.train import train
from training.run.trainer import Trainer

__all__ = ["batch_norms", "cases", "command", "in_two", "one_step", "stopped_after_two", "work"]


def cases(recipe: Recipe) -> dict[str, Recipe]:
    """Return the recipes that one process and two must train alike."""
    recipe = replace(recipe, epochs=3, batch_size=8, learning_rate=0.05)
    return {
        "deconfounded": recipe,
        "ldam-drw": replace(with_method(recipe, "ldam-drw"), reweight_from=1, momentum=0.5),
        "crt": with_method(recipe, "crt"),
        "running mean, EMA": replace(recipe, mean_feature="running", ema_decay=0.9),
        "frozen": replace(recipe, frozen=("bn",)),
        "large pictures": replace(
            recipe, random_resized_crop=True, crop_padding=0, color_jitter=0.4, auto_augment=False, rand_augment=(2, 10)
        ),
        "one small batch": replace(recipe, batch_size=64),
    }


def weights_for(recipe: Recipe) -> Path | None:
    """Return a file of weights if the recipe needs one; `TinyBackbone` reads none."""
    return Path(__file__) if recipe.frozen else None


class Stopped(BaseException):
    """Stands for a signal that kills all processes."""


@contextmanager
def stopped_after_two() -> Iterator[None]:
    """End a training after two epochs."""
    whole = Trainer.train_epoch

    def train_epoch(self: Trainer, epoch: int, *others: Any, **named: Any) -> Any:
        if epoch == 2:
            raise Stopped
        return whole(self, epoch, *others, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", train_epoch)
        try:
            yield
        except Stopped:
            return
    raise AssertionError("the training was not stopped")


def batch_norms() -> list[nn.Module]:
    """Return batch norms of every kind, in float64."""
    torch.manual_seed(1)
    plain = nn.BatchNorm1d(3, affine=False, momentum=None), nn.BatchNorm2d(3, track_running_stats=False)
    learnt = nn.BatchNorm2d(3)
    nn.init.uniform_(learnt.weight)
    nn.init.uniform_(learnt.bias)
    norms = [*plain, learnt]
    if find_spec("timm"):
        from timm.layers import BatchNormAct2d  # noqa: PLC0415  optional, and its import takes seconds

        norms.append(BatchNormAct2d(3, drop_layer=nn.Hardtanh))  # instead of dropout, which is random
    return [nn.Sequential(norm).double() for norm in norms]


def in_two(target: Callable[..., None], *arguments: Any) -> None:
    """Call a function in two new processes, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = multiprocessing.get_context("forkserver")  # torch's backward pass does not survive a plain fork
    start.set_forkserver_preload([__name__])  # torch is imported once
    processes = [start.Process(target=_call, args=(rank, port, target, arguments), daemon=True) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(250)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0, 0]


def _call(rank: int, port: int, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    warnings.simplefilter("error")
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ |= {"MASTER_ADDR": "127.0.0.1"} | {name: str(number) for name, number in numbers.items()}
    target(*arguments)


def command(*words: str) -> None:
    """Run a command as `python -m training` does."""
    sys.exit(cli.main(list(words)))


def work(recipe: Recipe, data: Path, out: Path) -> None:
    """Train all cases below `out`, and write all other results to `RANK.pt` there."""
    training.model.classifier.build_backbone = lambda *_: (TinyBackbone(), 8)  # type: ignore[assignment]
    world = World.from_environment()
    found: dict[str, Any] = {}

    def options(name: str, **others: Any) -> TrainOptions:
        folder = (
            out if world.first else out / "of another machine"
        )  # the first process sends its checkpoint to the others
        return TrainOptions(data=data, out=folder / name, device="cpu", precision="float32", threads=1, **others)

    with world.connected():
        found |= _exchange(world) | {"batch norms": [_shared(norm, world) for norm in batch_norms()]}
        world.group = dist.new_group(backend="gloo")  # as on GPUs, which use an NCCL group
        for name, each in cases(recipe).items():
            found[name] = train(each, options(name, weights=weights_for(each)), world).to_checkpoint()
        with _spied_mixup() as mixed:
            found["mixup"] = train(replace(recipe, epochs=1, mixup=0.5), options("mixup"), world).to_checkpoint()
        found["mixed within"] = mixed
        found["not mixed"] = train(replace(recipe, epochs=1), options("not mixed"), world).to_checkpoint()
        with stopped_after_two():
            train(cases(recipe)["crt"], options("from two to one"), world)
        resumed = train(cases(recipe)["crt"], options("from one to two", resume=True), world)
        found["from one to two"] = resumed.to_checkpoint()
        less = data
        if world.rank:  # a picture is missing on the other machine
            less = Path(shutil.copytree(data, out / "less"))
            (less / "test" / "red" / "00000.webp").unlink()
        nowhere = data / "nowhere" if world.rank else data
        for name, batch, folder in (("batch", 7, data), ("data", 8, nowhere), ("test set", 8, less)):
            given = replace(options("refused"), data=folder)
            found[f"refused {name}"] = _refusal(train, replace(recipe, batch_size=batch), given, world)
        diverging = replace(recipe, batch_size=8, epochs=1, warmup_epochs=0, head="linear", learning_rate=1e30)
        found["diverged"] = _refusal(train, diverging, options("diverged"), world)
        found["refused resume"] = _refusal(train, recipe, options("crt"), world)
        found["refused command"] = _refusal(parse_together, ["export", "run", "--out", "x"], world)
    torch.save(found, out / f"{world.rank}.pt")


@contextmanager
def _spied_mixup() -> Iterator[list[bool]]:
    """Record for each batch whether every image was mixed with another of the same process."""
    seen: list[bool] = []

    def spied(images: torch.Tensor, labels: torch.Tensor, *others: Any) -> Any:
        mixed, (own, partners, share) = mixup(images, labels, *others)
        flat = images.flatten(1).double()
        rests = (mixed.flatten(1) - share * flat) / (1 - share)
        distance, found = torch.cdist(rests, flat).min(dim=1)
        alike = float(distance.max()) < 1e-2 and torch.equal(own, labels) and torch.equal(labels[found], partners)
        seen.append(alike and not torch.equal(found, torch.arange(len(own))))
        return mixed, (own, partners, share)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.run.trainer, "mixup", spied)
        yield seen


def _exchange(world: World) -> dict[str, Any]:
    rows = torch.arange(7.0).view(7, 1)[world.share]

    def fail() -> None:
        with world.together():
            raise DataError(f"trouble of {world.rank}") if world.rank else DataError("other trouble")

    return {
        "gathered": world.gather(rows),
        "texts": world.gather_texts("ä" * world.rank),
        "broadcast": [world.broadcast(b"content" if world.first else None), world.broadcast(None)],
        "mean": world.mean(torch.tensor([1.0, 3.0 * world.rank])),
        "together": _refusal(fail),
        "agree": _refusal(world.agree, "colour", f"colour {world.rank}"),
    }


def _refusal(call: Any, *arguments: Any) -> str:
    try:
        call(*arguments)
    except TrainingError as error:
        return str(error)
    return "not refused"


def _shared(norm: nn.Module, world: World) -> dict[str, torch.Tensor]:
    """Run two forward passes and one backward; return values, gradients and running statistics."""
    share_batch_norm(norm, torch.device("cpu"), None)
    return one_step(norm, world)


def one_step(norm: nn.Module, world: World) -> dict[str, torch.Tensor]:
    """As `_shared`, over the process's share of the images."""
    shape = (8, 3) if isinstance(next(norm.children()), nn.BatchNorm1d) or norm[0].momentum is None else (8, 3, 5, 4)
    generator = torch.Generator().manual_seed(2)
    images, factors = (torch.randn(shape, generator=generator, dtype=torch.float64) * 3 + 5 for _ in range(2))
    own = images[world.share].clone().requires_grad_()
    norm(own)
    values = norm(own)
    (values.square() * factors[world.share]).sum().backward()
    assert own.grad is not None
    found = {"values": world.gather(values.detach()), "gradient": world.gather(own.grad)}
    found |= {name: world.sum(each.grad) for name, each in norm.named_parameters() if each.grad is not None}
    found |= dict(norm.named_buffers())
    if norm[0].running_mean is None:  # a batch's own statistics in evaluation too: not shared, as in SyncBatchNorm
        return found
    norm.eval()
    return found | {"evaluated": world.gather(norm(own).detach())}
