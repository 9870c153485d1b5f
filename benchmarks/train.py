"""Compare the speed of training with that of a plain loop, and measure the input pipeline's share of the time.

uv run --group train python benchmarks/train.py --threads 1
uv run --group train python benchmarks/train.py --recipe cifar100-lt-strong --rounds 9 --json train.json

A round measures in turn, on the same random images in memory:
- ours: `Trainer.train_epoch`, everything that training does between two evaluations, in the precision that `auto`
  chooses; at the recipe's full image size and, if it starts with smaller images, at the smallest.
- compiled: the same with `train --compile`, if `--compile` is given.
- plain: the same network and optimiser in float32 and contiguous memory, computing only, on one prepared batch; in its
  own process with the default memory allocator.
- research: the plain loop as in most research code, which first transforms each image with PIL and torchvision.
- bare: forward and backward alone, in our precision and memory format, on one prepared batch.
Ratios compare measurements of one round; the report shows their median and range. The parts of the input pipeline are
timed on whole chunks. With one CPU thread, times are processor seconds, which other work on the machine hardly affects;
otherwise they are wall-clock seconds.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import torch
from machine import commit, invocation, machine
from made_up_pictures import CLASSES, made_up
from plain_training import PlainProcess
from stopwatch import by_processor, now, repeat, seconds_of, wait
from torch import Tensor
from torch.nn import functional as F

from training.data.augmentation.augment import auto_augment, color_jitter, crop_and_flip, cutout, mixup, rand_augment
from training.data.augmentation.random_crops import RandomCrops
from training.data.labelled_images import LabelledImages
from training.errors import TrainingError
from training.model.classifier import Classifier
from training.recipe.named_recipes import load_recipe
from training.recipe.recipe import Recipe
from training.run.batches import CHUNK_BYTES
from training.run.device import check_compiling, describe_hardware, keep_memory, pick_device, pick_precision
from training.run.schedule import image_size_at
from training.run.trainer import Trainer

# required ratios
FASTER_THAN_PLAIN = 1.9
INPUT_SHARE = 0.10
OF_BARE_ON_GPU = 0.60


class Ours:
    """The real training loop, which records how long it waits for its batches."""

    def __init__(
        self, recipe: Recipe, data: LabelledImages, device: torch.device, precision: torch.dtype, *, compiled: bool
    ) -> None:
        self.trainer = Trainer(recipe, data, seed=0, device=device, precision=precision, compiled=compiled)
        self.batches = self.trainer.batches.of_epoch
        self.input_seconds = 0.0
        self.trainer.batches.of_epoch = self._timed  # type: ignore[method-assign]  # to measure the time in it

    def _timed(self, epoch: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        batches = self.batches(epoch, generator)
        device = self.trainer.device
        while True:
            wait(device)
            started = now(device)
            batch = next(batches, None)
            wait(device)
            self.input_seconds += now(device) - started
            if batch is None:
                return
            yield batch

    def run(self, epoch: int) -> tuple[float, float]:
        """Train one epoch; return images/s and the input's share of the time."""
        self.input_seconds = 0.0
        seconds = seconds_of(lambda: self.trainer.train_epoch(epoch), self.trainer.device)
        return self.trainer.batches.images_per_epoch / seconds, self.input_seconds / seconds


def bare(ours: Ours, steps: int, size: tuple[int, int]) -> float:
    """Return images/s of forward and backward alone, on one prepared batch."""
    trainer = ours.trainer
    batch = ours.trainer.recipe.batch_size
    images = torch.randn(batch, 3, *size, device=trainer.device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(batch, dtype=torch.int64, device=trainer.device)

    def work() -> None:
        for _ in range(steps):
            trainer.model.zero_grad(set_to_none=True)
            with torch.autocast(trainer.device.type, torch.bfloat16, enabled=trainer.precision == torch.bfloat16):
                features = trainer.model.backbone(images)
            F.cross_entropy(trainer.model.head(features.float()), labels).backward()

    return steps * batch / seconds_of(work, trainer.device)


def input_parts(recipe: Recipe, device: torch.device, rounds: int) -> dict[str, float]:
    """Return the median microseconds per image of every part of the input pipeline, on whole chunks."""
    batch = recipe.batch_size
    pixels_each = recipe.height * recipe.width * 3
    count = max(1, CHUNK_BYTES // pixels_each // batch) * batch
    data = made_up(recipe, count)
    model = Classifier(recipe, CLASSES).to(device)
    generator = torch.Generator().manual_seed(0)
    order = np.random.default_rng(0).permutation(count)
    pixels = torch.from_numpy(data.pixels).to(device)
    images = crop_and_flip(pixels, 4, generator)
    floats = model.normalise(images[:batch])
    labels = torch.zeros(batch, dtype=torch.int64, device=device)
    crops = RandomCrops.draw(count, generator)
    on_chunks: dict[str, Callable[[], object]] = {
        "fetch": lambda: torch.from_numpy(data.fetch(order)).to(device),
        "crop and flip": lambda: crop_and_flip(pixels, 4, generator),
        "random resized crop": lambda: crops.cut(pixels, recipe.height, recipe.width),
        "AutoAugment, CIFAR-10": lambda: auto_augment(images, generator),
        "AutoAugment, ImageNet": lambda: auto_augment(images, generator, "imagenet"),
        "RandAugment, 2 at 9": lambda: rand_augment(images, generator),
        "colour jitter": lambda: color_jitter(images, generator),
    }
    on_batches: dict[str, Callable[[], object]] = {
        "normalise": lambda: model.normalise(images[:batch]),
        "cutout": lambda: cutout(floats, recipe.height // 2, generator),
        "mixup": lambda: mixup(floats, labels, 1.0, generator),
    }
    parts = {}
    for works, images_each in ((on_chunks, count), (on_batches, batch)):
        for name, work in works.items():
            repeated = 1 if images_each == count else 20
            seconds_of(work, device)
            times = [seconds_of(partial(repeat, work, repeated), device) for _ in range(rounds)]
            parts[name] = statistics.median(times) / repeated / images_each * 1e6
    return parts


def measure(name: str, options: argparse.Namespace, device: torch.device, precision: torch.dtype) -> dict[str, Any]:
    """Measure all rounds of one recipe."""
    recipe = replace(load_recipe(name), imbalance_ratio=None)
    data = made_up(recipe, options.steps * recipe.batch_size)
    ways = {"ours": False} | ({"compiled": True} if options.compile else {})
    trained = {way: Ours(recipe, data, device, precision, compiled=compiled) for way, compiled in ways.items()}
    epochs = {"full size": recipe.epochs - 1}
    if (smallest := image_size_at(recipe, 0)) is not None:
        epochs[f"{smallest} pixels"] = 0
    rounds: list[dict[str, Any]] = []
    with PlainProcess(recipe, len(data), device) as plain:
        for number in range(options.rounds + 1):
            measured: dict[str, Any] = {"plain": plain.run(options.steps, per_image=False)}
            for way, ours in trained.items():
                for size, epoch in epochs.items():
                    figures = zip(("images_per_second", "input_share"), ours.run(epoch), strict=True)
                    measured[f"{way}, {size}"] = dict(figures)
            measured["research"] = plain.run(options.steps, per_image=True)
            measured["bare"] = bare(trained["ours"], options.steps, (recipe.height, recipe.width))
            if number:  # the first round warms up and compiles
                rounds.append(measured)
    return {"recipe": name, "rounds": rounds, "input_parts": input_parts(recipe, device, options.rounds)}


def spread(values: list[float], form: str) -> str:
    """Return the median and range as text."""
    middle = statistics.median(values)
    low = min(values)
    high = max(values)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def verdict(met: bool, bar: str) -> str:
    """Return a text that says whether a requirement is met."""
    return f"bar {bar}: {'met' if met else 'MISSED'}"


def report(result: dict[str, Any], device: torch.device, precision: torch.dtype) -> None:
    """Print the results of one recipe."""
    rounds = result["rounds"]
    measured = [name for name in rounds[0] if isinstance(rounds[0][name], dict)]
    rates = {name: [each[name]["images_per_second"] for each in rounds] for name in measured}
    print(f"\n{result['recipe']}\n")
    for name in ("plain", "research", "bare"):
        print(f"  {name:<24} {spread([each[name] for each in rounds], '.0f')} images/s")
    for name in measured:
        print(f"  {name:<24} {spread(rates[name], '.0f')} images/s")
    for way in [name for name in measured if name.endswith("full size")]:
        for other in ("plain", "research", "bare"):
            ratios = [rate / each[other] for rate, each in zip(rates[way], rounds, strict=True)]
            line = f"  {way.partition(',')[0] + ' / ' + other:<24} {spread(ratios, '.2f')}"
            middle = statistics.median(ratios)
            if other == "plain" and device.type == "cpu" and precision == torch.bfloat16:
                line += f"  {verdict(middle >= FASTER_THAN_PLAIN, f'{FASTER_THAN_PLAIN:g}')}"
            if other == "bare" and device.type == "cuda":
                line += f"  {verdict(middle >= OF_BARE_ON_GPU, f'{OF_BARE_ON_GPU:g}')}"
            print(line)
    print("  input's share of the time")
    for name in measured:
        shares = [each[name]["input_share"] for each in rounds]
        met = statistics.median(shares) < INPUT_SHARE
        print(f"    {name:<22} {spread(shares, '.1%')}  {verdict(met, f'{INPUT_SHARE:.0%}')}")
    print("\n  input, microseconds an image")
    for name, microseconds in result["input_parts"].items():
        print(f"    {name:<22} {microseconds:6.1f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", nargs="+", default=["cifar10-lt", "cifar10-lt-strong"])
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds, after a warm-up round")
    parser.add_argument("--steps", type=int, default=8, help="batches in each measurement")
    parser.add_argument("--threads", type=int, help="torch's threads (default: torch's choice)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--compile", action="store_true", help="also measure `train --compile`")
    parser.add_argument("--json", type=Path, help="write all rounds to this file")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_memory()  # as `train` does
    device = pick_device(options.device)
    precision = pick_precision(options.precision, device)
    if options.compile:
        try:
            check_compiling(device, precision)
        except TrainingError as error:
            parser.error(str(error))
    where = f"{machine()}, torch {version('torch')}, torchvision {version('torchvision')}"
    clock = "processor seconds" if by_processor(device) else "wall-clock seconds"
    how = f"{describe_hardware(device)}, {str(precision).removeprefix('torch.')}; {clock}"
    print(f"{invocation()}\ncommit {commit()}\n{where}\n{how}", flush=True)
    results = []
    for name in options.recipe:
        results.append(measure(name, options, device, precision))
        report(results[-1], device, precision)
        sys.stdout.flush()
    if options.json:
        facts = {"command": invocation(), "commit": commit(), "machine": where, "hardware": how}
        options.json.write_text(json.dumps(facts | {"results": results}, indent=1))


if __name__ == "__main__":
    main()
