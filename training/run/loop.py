"""One training loop, from the first step to the last epoch's checkpoint.

Each epoch draws all its randomness (order, augmentation) from one generator seeded with (seed, epoch), and dropout from
torch's own, seeded likewise. A run continued after a kill therefore repeats exactly what an uninterrupted run does.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.data.augmentation.augment import auto_augment, color_jitter, crop_and_flip, cutout, mixup, rand_augment
from training.data.augmentation.random_crops import RandomCrops
from training.data.device_images import DeviceImages
from training.data.labelled_images import LabelledImages
from training.errors import TrainingError
from training.model.classifier import Classifier, check_sizes
from training.model.direction import RunningMean
from training.model.heads import LinearHead
from training.model.networks.freezing import freeze
from training.recipe.recipe import Recipe
from training.run.device import compiling
from training.run.distributed import World
from training.run.losses import Loss
from training.run.schedule import image_size_at, learning_rate_at

__all__ = ["EpochResult", "Trainer"]

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
    """Model, optimiser and averages of one run: all that changes while training.

    Args:
        recipe: what to train and how.
        data: the training set.
        seed: of weights, order and augmentation.
        device: where to compute.
        precision: of the backbone, float32 or bfloat16; head and loss are float32 always.
        weights: file of pretrained weights that the backbone starts from; None for random ones.
        compiled: run the network through torch.compile, on a GPU as CUDA graphs; see `check_compiling`.
        world: the processes that share each batch; by default this one is alone.

    """

    def __init__(
        self,
        recipe: Recipe,
        data: LabelledImages,
        *,
        seed: int,
        device: torch.device,
        precision: torch.dtype,
        weights: Path | None = None,
        compiled: bool = False,
        world: World | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self.world = world or World()
        self.world.check_batch(min(recipe.batch_size, len(data)))
        self.recipe = recipe
        self.data = data
        self.seed = seed
        self.device = device
        self.precision = precision
        self.pixels = DeviceImages(data, device)
        model = Classifier(recipe, len(data.classes), weights)
        check_sizes(model, recipe)
        self.model = model.to(device, memory_format=torch.channels_last)
        self.average = (  # before batch norms are shared: what shares cannot be copied, and evaluation needs none
            AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True)
            if recipe.ema_decay is not None
            else None
        )
        self.world.share_batch_norm(self.model, device)
        freeze(self.model.backbone, recipe.frozen)
        self.loss = Loss(recipe, torch.from_numpy(data.class_counts), device, self.world.mean)
        self.optimizer = self._new_optimizer()
        self.running_mean = RunningMean(self.model.feature_dim, mean_of_shares=self.world.mean)
        self.compiled = compiled
        self.network: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None  # the model, as training calls it

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            [parameter for parameter in self.model.parameters() if parameter.requires_grad],
            lr=self.recipe.learning_rate,
            momentum=self.recipe.momentum,
            weight_decay=self.recipe.weight_decay,
            nesterov=self.recipe.nesterov,
        )

    def _network(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """Return the model as training calls it: shared with other processes, compiled."""
        network: Callable[[Tensor], tuple[Tensor, Tensor]] = self.world.parallel(self.model, self.device)
        if not self.compiled:
            return network
        mode = "reduce-overhead" if self.device.type == "cuda" else "default"  # the former is CUDA graphs
        return torch.compile(network, mode=mode, dynamic=False)

    def begin_second_stage(self) -> None:
        """Let the network stand still from here on; only the head learns: anew, or one factor for each class.

        Where a moving average of the weights is kept, the network that stands still is the average, as that is what is
        evaluated and exported; the average of the head begins anew.
        """
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
            self.average.n_averaged.zero_()
        self.model.requires_grad_(requires_grad=False)
        head = self.model.head
        if self.recipe.second_stage == "crt":
            head.reset_parameters()
            head.weight.requires_grad_()
            if isinstance(head, LinearHead):
                head.bias.requires_grad_()
        else:
            head.class_scale.requires_grad_()
        self.optimizer = self._new_optimizer()
        self.network = None

    def in_second_stage(self, epoch: int) -> bool:
        """Say whether the network stands still in this epoch."""
        return epoch >= self.recipe.first_stage_epochs

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
        """Go once over the training set; `on_step` hears how many images each step took.

        Raises:
            TrainingError: loss or weights are no numbers any more, in every process; what was saved is to stay. Or the
                network cannot be compiled, in this process.

        """
        generator = self.world.generator(self.seed * 1_000_003 + epoch)
        torch.manual_seed(self.seed * 1_000_003 + epoch)
        if self.in_second_stage(epoch) and epoch == self.recipe.first_stage_epochs:
            self.begin_second_stage()
        if not self.world.first:
            torch.manual_seed((self.seed + self.world.rank * 7919) * 1_000_003 + epoch)  # dropout of one's own
        if self.network is None:
            self.network = self._network()
        self.model.train()
        if self.in_second_stage(epoch):
            self.model.backbone.eval()
        steps = self.steps_per_epoch
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)  # of losses and of hits; read once, at the end
        seen = 0
        started = time.monotonic()
        for step, (images, labels) in enumerate(self.augmented_batches(epoch, generator)):
            moment = epoch + (step + 0.5) / steps
            rate = learning_rate_at(self.recipe, moment)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            with compiling() if self.compiled else nullcontext():
                loss, logits = self.train_step(images, labels, moment, generator)
            sums += torch.stack((loss * len(labels), (logits.argmax(dim=1) == labels).sum()))
            seen += len(labels) * self.world.size
            on_step(len(labels) * self.world.size)
        mean_loss, accuracy = (self.world.sum(sums) / seen).tolist()
        with self.world.together():
            self._check_finite(epoch, mean_loss)
        return EpochResult(epoch, mean_loss, accuracy, rate, seen, time.monotonic() - started)

    def _check_finite(self, epoch: int, mean_loss: float) -> None:
        """Refuse to go on after an epoch that ended in nan or infinity, in its loss or in the weights."""
        finite = torch.stack([value.isfinite().all() for value in self.model.state_dict().values()]).all()
        if math.isfinite(mean_loss) and finite:
            return
        field = "second_stage_learning_rate" if self.in_second_stage(epoch) else "learning_rate"
        kept = f"the checkpoint of epoch {epoch} stays as it is" if epoch else "nothing was saved"
        found = f"loss {mean_loss:g}{'' if finite else ', weights not finite'}"
        raise TrainingError(
            f"epoch {epoch + 1}: training diverged ({found}); start anew with a lower {field}, "
            f"such as --set {field}={getattr(self.recipe, field) / 4:g}; {kept}"
        )

    def train_step(
        self, images: Tensor, labels: Tensor, moment: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """One step of SGD; returns the loss and the (B, C) logits.

        Where several processes share a batch each has B of its images, and the loss is the mean of theirs.

        Args:
            images: (B, 3, H, W) normalised and augmented.
            labels: (B,) class indices.
            moment: epochs done, fractions included.
            generator: on the CPU, for mixup.

        """
        if self.recipe.mixup:
            images, (labels, others, share) = mixup(images, labels, self.recipe.mixup, generator)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16):
            features, logits = self.network(images)
        loss = self.loss(logits, labels, moment)
        if self.recipe.mixup:
            loss = share * loss + (1.0 - share) * self.loss(logits, others, moment)
        loss.backward()
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        if self.recipe.mean_feature == "running":
            self.running_mean.update(features)
        return loss.detach(), logits.detach()

    def epoch_order(self, epoch: int, generator: torch.Generator) -> npt.NDArray[np.int64]:
        """Return the images of an epoch: every one at most once or, in a second stage, every class equally often."""
        if not self.in_second_stage(epoch):
            return torch.randperm(len(self.data), generator=generator).numpy()[: self.images_per_epoch]
        rarity = 1.0 / torch.from_numpy(self.data.class_counts).double()
        weights = rarity[torch.from_numpy(self.data.labels)]
        return torch.multinomial(weights, self.images_per_epoch, replacement=True, generator=generator).numpy()

    def augmented_batches(self, epoch: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalised (B, 3, S, S) images, (B,) labels in random order; an incomplete last batch is left out.

        Where several processes share a batch, each gets its own images of it.
        """
        recipe = self.recipe
        batch = self.recipe.batch_size // self.world.size
        share = self.world.share
        order = self.epoch_order(epoch, generator)
        per_chunk = max(1, CHUNK_BYTES // (recipe.height * recipe.width * 3) // recipe.batch_size) * batch
        crops = RandomCrops.draw(len(order), generator).part(share) if recipe.random_resized_crop else None
        size = image_size_at(recipe, epoch)
        for pixels, labels in self.pixels.chunks(order[share], per_chunk, crops):
            images = self._augment(pixels, generator)
            for part in range(0, len(labels), batch):
                normalised = self.model.normalise(images[part : part + batch])
                if recipe.cutout:
                    normalised = cutout(normalised, recipe.cutout, generator)
                if size is not None:
                    normalised = F.interpolate(normalised, size=size, mode="bilinear", antialias=True)
                yield normalised.contiguous(memory_format=torch.channels_last), labels[part : part + batch]

    def _augment(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, 3, H, W) uint8, moved, mirrored and recoloured as the recipe says."""
        recipe = self.recipe
        images = pixels.permute(0, 3, 1, 2)
        if recipe.crop_padding:
            images = crop_and_flip(pixels, recipe.crop_padding, generator)
        if (share := recipe.color_jitter) > 0:
            images = color_jitter(images, generator, brightness=share, contrast=share, saturation=share)
        if recipe.auto_augment:
            images = auto_augment(images, generator, recipe.auto_augment_policy)
        if recipe.rand_augment is not None:
            count, magnitude = recipe.rand_augment
            images = rand_augment(images, generator, count=count, magnitude=magnitude)
        return images
