"""The baseline for training: the same network in a plain float32 loop, in its own process.

In its own process it has the default memory allocator; `keep_memory` changes the allocator of our whole process.
"""

import multiprocessing
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

import numpy as np
import torch
from made_up_pictures import CLASSES, made_up
from PIL import Image
from stopwatch import seconds_of
from torch import Tensor
from torch.nn import functional as F
from torchvision import transforms

from training.data.labelled_images import LabelledImages
from training.model.classifier import Classifier
from training.recipe.recipe import Recipe

__all__ = ["PlainProcess"]


class Plain:
    """The same network in a training loop like most research code's."""

    def __init__(self, recipe: Recipe, data: LabelledImages, device: torch.device) -> None:
        torch.manual_seed(0)
        self.recipe = recipe
        self.data = data
        self.device = device
        self.model = Classifier(recipe, CLASSES).to(device).train()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=0.01,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )
        self.pixels = data.fetch(np.arange(len(data.labels)))
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
        image: Tensor = self.transform(Image.fromarray(self.pixels[index]))
        if self.recipe.cutout:
            half = self.recipe.cutout // 2
            (row, column) = np.random.randint(0, self.recipe.height, 2)
            image[:, max(0, row - half) : row + half, max(0, column - half) : column + half] = 0.0
        return image

    def step(self, images: Tensor, labels: Tensor) -> None:
        """Run forward, loss, backward and optimiser; read the loss, as training loops usually do."""
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(images)[1], labels)
        loss.backward()
        self.optimizer.step()
        loss.item()

    def run(self, steps: int, *, per_image: bool) -> float:
        """Return images/s of computing alone or, if `per_image`, including the transform of each image."""
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


class PlainProcess:
    """A `Plain` in its own process, which is idle between calls of `run`."""

    def __init__(self, recipe: Recipe, count: int, device: torch.device) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        arguments = (other, recipe, count, device, torch.get_num_threads())
        self.process = context.Process(target=_answer, args=arguments, daemon=True)
        self.process.start()
        other.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()
        self.process.join()

    def run(self, steps: int, *, per_image: bool) -> float:
        """Return images/s; see `Plain.run`."""
        try:
            self.connection.send((steps, per_image))
            return float(self.connection.recv())
        except (EOFError, OSError) as error:
            self.process.join()
            raise SystemExit(f"the plain loop's process ended, exit code {self.process.exitcode}") from error


def _answer(connection: Connection, recipe: Recipe, count: int, device: torch.device, threads: int) -> None:
    """Run the plain loop for each request, until the connection is closed."""
    torch.set_num_threads(threads)
    plain = Plain(recipe, made_up(recipe, count), device)
    while True:
        try:
            steps, per_image = connection.recv()
            connection.send(plain.run(steps, per_image=per_image))
        except (EOFError, OSError, KeyboardInterrupt):
            return
