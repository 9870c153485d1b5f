"""One training loop, from the first step to the last epoch's checkpoint.

Each epoch draws all its randomness (order, augmentation) from one generator seeded with (seed, epoch), and dropout from
torch's own, seeded likewise. A run continued after a kill therefore repeats exactly what an uninterrupted run does.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.classifier import Classifier
from training.data.augment import auto_augment, crop_and_flip, cutout
from training.data.images import LabelledImages
from training.direction import RunningMean
from training.recipe import Recipe
from training.schedule import image_size_at, learning_rate_at

__all__ = ["EpochResult", "Trainer", "clean_batches"]

CHUNK_BYTES = 32 << 20  # pixels augmented at once: many enough to share operations, few enough for the cache


@dataclass(frozen=True)
class EpochResult:
    """What one epoch did: means over its images; `loss` in nats, `accuracy` on augmented images, a fraction."""

    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    images: int
    seconds: float


class Trainer:
    """Model, optimiser and averages of one run: all that changes while training."""

    def __init__(
        self, recipe: Recipe, data: LabelledImages, *, seed: int, device: torch.device, precision: torch.dtype
    ) -> None:
        torch.manual_seed(seed)
        self.recipe, self.data, self.seed, self.device, self.precision = recipe, data, seed, device, precision
        self.model = Classifier(recipe, len(data.classes)).to(device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )
        self.average = (
            AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True)
            if recipe.ema_decay is not None
            else None
        )
        self.running_mean = RunningMean(self.model.feature_dim)

    @property
    def final_model(self) -> Classifier:
        """The weights to evaluate and export: the moving average where the recipe keeps one."""
        return self.model if self.average is None else self.average.module

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the training set; a set smaller than one batch is one step."""
        return max(1, len(self.data) // self.recipe.batch_size)

    @property
    def images_per_epoch(self) -> int:
        """Images an epoch really uses."""
        return min(len(self.data), self.steps_per_epoch * self.recipe.batch_size)

    def train_epoch(self, epoch: int, on_step: Callable[[int], None] = lambda _: None) -> EpochResult:
        """Go once over the training set; `on_step` hears how many images each step took."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        torch.manual_seed(self.seed * 1_000_003 + epoch)
        self.model.train()
        steps = self.steps_per_epoch
        losses, hits, seen, started = 0.0, 0, 0, time.monotonic()
        for step, (images, labels) in enumerate(self.augmented_batches(epoch, generator)):
            rate = learning_rate_at(self.recipe, epoch + (step + 0.5) / steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss, logits = self.train_step(images, labels)
            losses += loss.item() * len(labels)
            hits += int((logits.argmax(dim=1) == labels).sum())
            seen += len(labels)
            on_step(len(labels))
        return EpochResult(epoch, losses / seen, hits / seen, rate, seen, time.monotonic() - started)

    def train_step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One step of SGD on the cross-entropy; returns the loss and the (B, C) logits."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16):
            features = self.model.backbone(images)
        features = features.float()  # norms and cosines need more than bfloat16's 8 bits
        logits = self.model.head(features)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        if self.recipe.mean_feature == "running":
            self.running_mean.update(features)
        return loss.detach(), logits.detach()

    def augmented_batches(self, epoch: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalised (B, 3, S, S) images, (B,) labels in random order; an incomplete last batch is left out."""
        recipe, batch = self.recipe, self.recipe.batch_size
        order = torch.randperm(len(self.data), generator=generator).numpy()
        order = order[: self.images_per_epoch]
        per_chunk = max(1, CHUNK_BYTES // (recipe.height * recipe.width * 3) // batch) * batch
        size = image_size_at(recipe, epoch)
        for start in range(0, len(order), per_chunk):
            indices = order[start : start + per_chunk]
            pixels = torch.from_numpy(self.data.fetch(indices)).to(self.device)
            labels = torch.from_numpy(self.data.labels[indices]).to(self.device)
            if recipe.crop_padding:
                images = crop_and_flip(pixels, recipe.crop_padding, generator)
            else:
                images = pixels.permute(0, 3, 1, 2)
            if recipe.auto_augment:
                images = auto_augment(images, generator)
            for part in range(0, len(indices), batch):
                normalised = self.model.normalise(images[part : part + batch])
                if recipe.cutout:
                    normalised = cutout(normalised, recipe.cutout, generator)
                if size is not None:
                    normalised = F.interpolate(normalised, size=size, mode="bilinear", antialias=True)
                yield normalised.contiguous(memory_format=torch.channels_last), labels[part : part + batch]


def clean_batches(model: Classifier, data: LabelledImages, batch_size: int = 250) -> Iterator[Tensor]:
    """Yield every image once, in order, normalised and not augmented."""
    for start in range(0, len(data), batch_size):
        indices = np.arange(start, min(start + batch_size, len(data)))
        yield model.prepare(data.fetch(indices)).contiguous(memory_format=torch.channels_last)
