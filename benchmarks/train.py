"""How fast training is: the real loop beside a plain one, and what the input pipeline takes of it.

uv run --group train python benchmarks/train.py --threads 1
uv run --group train python benchmarks/train.py --recipe cifar100-lt-strong --rounds 9 --json train.json

A round measures in turn, on the same made-up pictures in memory (their content changes no time):
- ours: `Trainer.train_epoch`, all that a training does between two evaluations, in the precision `auto` takes here;
  at the recipe's full size and, where it trains on small pictures first, at the smallest.
- plain: the same network in float32, contiguous, the same optimiser, on one batch that is ready: computing only.
- research: the plain loop as research code has it, one picture after the other through PIL and torchvision first.
- bare: forward and backward alone, in our precision and memory format, on one batch that is ready.
Ratios are of one round; printed are their median and range. The parts of the input pipeline are timed on whole chunks.
With one thread on a CPU seconds are the processor's, which other work on the machine hardly moves; else the clock's.
"""

import argparse
import json
import statistics
import sys
import time
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
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision import transforms

from training.classifier import Classifier
from training.data.augment import auto_augment, color_jitter, crop_and_flip, cutout, mixup, rand_augment
from training.data.images import LabelledImages
from training.data.labelled_files import LabelledFiles
from training.data.random_crops import RandomCrops
from training.device import describe_hardware, pick_device, pick_precision
from training.loop import CHUNK_BYTES, Trainer
from training.recipe import Recipe, load_recipe
from training.schedule import image_size_at

CLASSES = 10
FASTER_THAN_PLAIN, INPUT_SHARE, OF_BARE_ON_GPU = 1.9, 0.10, 0.60  # the bars


def made_up(recipe: Recipe, count: int) -> LabelledImages:
    """Random pictures in memory."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, count)
    names = tuple(map(str, range(count)))
    files = LabelledFiles("made up", tuple(map(str, range(CLASSES))), names, labels, lambda _: b"")
    pixels = rng.integers(0, 256, (count, recipe.height, recipe.width, 3), dtype=np.uint8)
    return LabelledImages(files, recipe.image_recipe, pixels)


def wait(device: torch.device) -> None:
    """Let a GPU finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def now(device: torch.device) -> float:
    """Seconds: the processor's where one thread does all the work, else the clock's."""
    return time.process_time() if by_processor(device) else time.perf_counter()


def by_processor(device: torch.device) -> bool:
    """Whether one thread does all the work."""
    return device.type == "cpu" and torch.get_num_threads() == 1


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Time one call."""
    wait(device)
    started = now(device)
    work()
    wait(device)
    return now(device) - started


def repeat(work: Callable[[], object], times: int) -> None:
    """Do it so often."""
    for _ in range(times):
        work()


class Ours:
    """The real training loop; notes how long it waits for its batches."""

    def __init__(self, recipe: Recipe, data: LabelledImages, device: torch.device, precision: torch.dtype) -> None:
        self.trainer = Trainer(recipe, data, seed=0, device=device, precision=precision)
        self.batches, self.input_seconds = self.trainer.augmented_batches, 0.0
        self.trainer.augmented_batches = self._timed  # type: ignore[method-assign]

    def _timed(self, *given: Any) -> Iterator[Any]:
        batches, device = self.batches(*given), self.trainer.device
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
        """Train one epoch; return images/s and the share of the time that its input took."""
        self.input_seconds = 0.0
        seconds = seconds_of(lambda: self.trainer.train_epoch(epoch), self.trainer.device)
        return self.trainer.images_per_epoch / seconds, self.input_seconds / seconds


class Plain:
    """The same network as most code trains it."""

    def __init__(self, recipe: Recipe, data: LabelledImages, device: torch.device) -> None:
        torch.manual_seed(0)
        self.recipe, self.data, self.device = recipe, data, device
        self.model = Classifier(recipe, CLASSES).to(device).train()
        options = {"momentum": recipe.momentum, "nesterov": recipe.nesterov, "weight_decay": recipe.weight_decay}
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, **options)
        self.labels = torch.from_numpy(data.labels).to(device)
        size = (recipe.height, recipe.width)
        self.transform = transforms.Compose(
            [
                *([transforms.RandomCrop(size, recipe.crop_padding)] if recipe.crop_padding else []),
                *([transforms.RandomHorizontalFlip()] if recipe.crop_padding else []),
                *([transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10)] if recipe.auto_augment else []),
                transforms.ToTensor(),
                transforms.Normalize(recipe.mean, recipe.std),
            ]
        )
        self.ready = torch.stack([self._one(index) for index in range(recipe.batch_size)]).to(device)

    def _one(self, index: int) -> Tensor:
        image = self.transform(Image.fromarray(self.data.pixels[index]))
        if self.recipe.cutout:
            half, (row, column) = self.recipe.cutout // 2, np.random.randint(0, self.recipe.height, 2)
            image[:, max(0, row - half) : row + half, max(0, column - half) : column + half] = 0.0
        return image

    def step(self, images: Tensor, labels: Tensor) -> None:
        """Forward, loss, backward, optimiser; the loss is looked at, as everywhere."""
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(images)[1], labels)
        loss.backward()
        self.optimizer.step()
        loss.item()

    def run(self, steps: int, *, per_image: bool) -> float:
        """Return images/s, of computing alone or with each picture transformed first."""
        batch = self.recipe.batch_size

        def work() -> None:
            for start in range(0, steps * batch, batch):
                labels = self.labels[start : start + batch]
                if per_image:
                    images = torch.stack([self._one(index) for index in range(start, start + batch)])
                    self.step(images.to(self.device), labels)
                else:
                    self.step(self.ready, labels)

        return steps * batch / seconds_of(work, self.device)


def bare(ours: Ours, steps: int, size: tuple[int, int]) -> float:
    """Return images/s of forward and backward alone, with a batch that is ready."""
    trainer, batch = ours.trainer, ours.trainer.recipe.batch_size
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
    """Microseconds an image of every part of the input pipeline, on whole chunks; medians."""
    batch, pixels_each = recipe.batch_size, recipe.height * recipe.width * 3
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
    """All rounds of one recipe."""
    recipe = replace(load_recipe(name), imbalance_ratio=None)
    data = made_up(recipe, options.steps * recipe.batch_size)
    ours, plain = Ours(recipe, data, device, precision), Plain(recipe, data, device)
    epochs = {"full size": recipe.epochs - 1}
    if (smallest := image_size_at(recipe, 0)) is not None:
        epochs[f"{smallest} pixels"] = 0
    rounds: list[dict[str, Any]] = []
    for number in range(options.rounds + 1):
        one: dict[str, Any] = {"plain": plain.run(options.steps, per_image=False)}
        for size, epoch in epochs.items():
            one[size] = dict(zip(("images_per_second", "input_share"), ours.run(epoch), strict=True))
        one["research"] = plain.run(options.steps, per_image=True)
        one["bare"] = bare(ours, options.steps, (recipe.height, recipe.width))
        if number:  # the first one warms up
            rounds.append(one)
    return {"recipe": name, "rounds": rounds, "input_parts": input_parts(recipe, device, options.rounds)}


def spread(values: list[float], form: str) -> str:
    """Median and range."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def verdict(met: bool, bar: str) -> str:
    """Whether a bar is met."""
    return f"bar {bar}: {'met' if met else 'MISSED'}"


def report(result: dict[str, Any], device: torch.device) -> None:
    """Print one recipe."""
    rounds = result["rounds"]
    sizes = [size for size in rounds[0] if isinstance(rounds[0][size], dict)]
    rates = {size: [each[size]["images_per_second"] for each in rounds] for size in sizes}
    ours = rates["full size"]
    print(f"\n{result['recipe']}\n")
    for name in ("plain", "research", "bare"):
        print(f"  {name:<22} {spread([each[name] for each in rounds], '.0f')} images/s")
    for size in sizes:
        print(f"  {'ours, ' + size:<22} {spread(rates[size], '.0f')} images/s")
    for name in ("plain", "research", "bare"):
        ratios = [rate / each[name] for rate, each in zip(ours, rounds, strict=True)]
        line = f"  ours / {name:<15} {spread(ratios, '.2f')}"
        middle = statistics.median(ratios)
        if name == "plain" and device.type == "cpu":
            line += f"  {verdict(middle >= FASTER_THAN_PLAIN, f'{FASTER_THAN_PLAIN:g}')}"
        if name == "bare" and device.type == "cuda":
            line += f"  {verdict(middle >= OF_BARE_ON_GPU, f'{OF_BARE_ON_GPU:g}')}"
        print(line)
    for size in sizes:
        shares = [each[size]["input_share"] for each in rounds]
        met = statistics.median(shares) < INPUT_SHARE
        print(f"  input, {size:<15} {spread(shares, '.1%')} of the time  {verdict(met, f'{INPUT_SHARE:.0%}')}")
    print("\n  input, microseconds an image")
    for name, microseconds in result["input_parts"].items():
        print(f"    {name:<22} {microseconds:6.1f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", nargs="+", default=["cifar10-lt", "cifar10-lt-strong"])
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds, after one that is not counted")
    parser.add_argument("--steps", type=int, default=8, help="batches of each measurement")
    parser.add_argument("--threads", type=int, help="of torch; by default what torch takes")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--json", type=Path, help="write all rounds there")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    precision = pick_precision(options.precision, device)
    where = f"{machine()}, torch {version('torch')}, torchvision {version('torchvision')}"
    clock = "seconds of the processor" if by_processor(device) else "seconds by the clock"
    how = f"{describe_hardware(device)}, {str(precision).removeprefix('torch.')}; {clock}"
    print(f"{invocation()}\ncommit {commit()}\n{where}\n{how}", flush=True)
    results = []
    for name in options.recipe:
        results.append(measure(name, options, device, precision))
        report(results[-1], device)
        sys.stdout.flush()
    if options.json:
        facts = {"command": invocation(), "commit": commit(), "machine": where, "hardware": how}
        options.json.write_text(json.dumps(facts | {"results": results}, indent=1))


if __name__ == "__main__":
    main()
