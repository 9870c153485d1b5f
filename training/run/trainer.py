"""The training loop: epochs of SGD steps.

Each epoch draws all its randomness (order, augmentation) from one generator seeded with (seed, epoch), and dropout from
torch's own, seeded likewise. A run that is resumed therefore repeats exactly what an uninterrupted run does.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.data.augmentation.augment import mixup
from training.data.labelled_images import LabelledImages
from training.errors import CheckpointError, TrainingError
from training.model.classifier import Classifier, check_sizes
from training.model.direction import RunningMean
from training.model.heads import LinearHead
from training.model.networks.freezing import freeze
from training.recipe.recipe import Recipe
from training.run.batches import TrainingBatches
from training.run.device import compiling
from training.run.distributed import World
from training.run.losses import Loss
from training.run.schedule import learning_rate_at

__all__ = ["EpochResult", "Trainer", "TrainerState"]


@dataclass(frozen=True)
class EpochResult:
    """Means over an epoch's images: `loss` in nats, `accuracy` on augmented images as a fraction; the last rate."""

    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    images: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TrainerState:
    """Everything that changes during training, after some epoch.

    Attributes:
        model: the model's weights and buffers.
        optimizer: the optimiser's state.
        average: the moving average of the weights; None if the recipe keeps none.
        running_mean: (D,) the running mean of the features.

    """

    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    average: dict[str, Tensor] | None
    running_mean: Tensor


class _AveragedClassifier(AveragedModel):
    """A moving average of a classifier's weights."""

    module: Classifier


class Trainer:
    """Model, optimiser and averages of one run: everything that changes during training.

    Args:
        recipe: what to train and how.
        data: the training set.
        seed: the seed of weights, order and augmentation.
        device: where to compute.
        precision: the backbone's precision, float32 or bfloat16; head and loss are always float32.
        weights: a file of pretrained weights for the backbone; None for random ones.
        compiled: run the network through torch.compile, on a GPU with CUDA graphs; see `check_compiling`.
        world: the processes that share each batch; by default, this one alone.

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
        self.seed = seed
        self.device = device
        self.precision = precision
        self.compiled = compiled
        model = Classifier(recipe, len(data.classes), weights)
        check_sizes(model, recipe)
        self.model = model.to(device).to(memory_format=torch.channels_last)
        # The average is copied before batch norms are shared: a shared one cannot be copied, and evaluation needs none.
        self.average = None if recipe.ema_decay is None else self._new_average(recipe.ema_decay)
        self.world.share_batch_norm(self.model, device)
        freeze(self.model.backbone, recipe.frozen)
        self.batches = TrainingBatches(recipe, data, device, self.world, self.model.normalise)
        self.loss = Loss(recipe, torch.from_numpy(data.class_counts), device, self.world.mean)
        self.optimizer = self._new_optimizer()
        self.running_mean = RunningMean(self.model.feature_dim, mean_of_shares=self.world.mean)
        self._network: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None

    def _new_average(self, decay: float) -> _AveragedClassifier:
        return _AveragedClassifier(self.model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            [parameter for parameter in self.model.parameters() if parameter.requires_grad],
            lr=self.recipe.learning_rate,
            momentum=self.recipe.momentum,
            weight_decay=self.recipe.weight_decay,
            nesterov=self.recipe.nesterov,
        )

    @property
    def network(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """The model as training calls it: shared with the other processes, and compiled if asked for."""
        if self._network is None:
            network: Callable[[Tensor], tuple[Tensor, Tensor]] = self.world.parallel(self.model, self.device)
            if self.compiled:
                mode = "reduce-overhead" if self.device.type == "cuda" else "default"  # the former is CUDA graphs
                network = torch.compile(network, mode=mode, dynamic=False)
            self._network = network
        return self._network

    @property
    def final_model(self) -> Classifier:
        """The weights to evaluate and export: the moving average if the recipe keeps one."""
        return self.model if self.average is None else self.average.module

    def train_epoch(self, epoch: int, on_step: Callable[[int], None] = lambda _: None) -> EpochResult:
        """Go over the training set once.

        Args:
            epoch: its index, from 0.
            on_step: called after each step with the number of images it took.

        Raises:
            TrainingError: the loss or a weight is not finite, in every process; or the network cannot be compiled, in
                this process.

        """
        generator = self._begin_epoch(epoch)
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)  # of losses and of hits; read once, at the end
        seen = 0
        started = time.monotonic()
        for step, (images, labels) in enumerate(self.batches.of_epoch(epoch, generator)):
            moment = epoch + (step + 0.5) / self.batches.per_epoch
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

    def train_step(
        self, images: Tensor, labels: Tensor, moment: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Take one step of SGD; return the loss and the (B, C) logits.

        If several processes share a batch, each has B of its images, and the loss is the mean over all of them.

        Args:
            images: (B, 3, H, W) normalised and augmented.
            labels: (B,) class indices.
            moment: epochs done, fractions included.
            generator: on the CPU, for mixup.

        """
        if self.recipe.mixup:
            images, (labels, partners, share) = mixup(images, labels, self.recipe.mixup, generator)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16):
            features, logits = self.network(images)
        loss = self.loss(logits, labels, moment)
        if self.recipe.mixup:
            loss = share * loss + (1.0 - share) * self.loss(logits, partners, moment)
        loss.backward()
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        if self.recipe.mean_feature == "running":
            self.running_mean.update(features)
        return loss.detach(), logits.detach()

    def _begin_epoch(self, epoch: int) -> torch.Generator:
        """Seed everything random, enter the second stage if it is time, and set training mode.

        Returns:
            The generator of the epoch's order and augmentation.

        """
        torch.manual_seed(self.seed * 1_000_003 + epoch)
        if epoch == self.recipe.first_stage_epochs:
            self.begin_second_stage()
        if not self.world.first:  # each process drops out other features
            torch.manual_seed((self.seed + self.world.rank * 7919) * 1_000_003 + epoch)
        self.model.train()
        if self.in_second_stage(epoch):
            self.model.backbone.eval()
        _ = self.network  # built now, outside autocast and the epoch's time
        return self.world.generator(self.seed * 1_000_003 + epoch)

    def in_second_stage(self, epoch: int) -> bool:
        """Return whether the backbone is frozen in this epoch."""
        return epoch >= self.recipe.first_stage_epochs

    def begin_second_stage(self) -> None:
        """Freeze the backbone; from now on, only the head learns: all weights anew, or one factor per class.

        If the recipe keeps a moving average of the weights, the frozen backbone is the average, because the average is
        evaluated and exported. The average of the head starts anew.
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
        elif isinstance(head, LinearHead):
            head.class_scale.requires_grad_()
        self.optimizer = self._new_optimizer()
        self._network = None

    def _check_finite(self, epoch: int, mean_loss: float) -> None:
        """Refuse to continue after an epoch that ended in NaN or infinity, in its loss or in the weights."""
        finite = torch.stack([value.isfinite().all() for value in self.model.state_dict().values()]).all()
        if math.isfinite(mean_loss) and finite:
            return
        field = "second_stage_learning_rate" if self.in_second_stage(epoch) else "learning_rate"
        kept = f"the checkpoint of epoch {epoch} is kept" if epoch else "nothing was saved"
        found = f"loss {mean_loss:g}{'' if finite else ', weights not finite'}"
        raise TrainingError(
            f"epoch {epoch + 1}: training diverged ({found}); start again with a lower {field}, "
            f"such as --set {field}={getattr(self.recipe, field) / 4:g}; {kept}"
        )

    def state(self) -> TrainerState:
        """Return weights, optimiser and averages; their tensors are not copied."""
        return TrainerState(
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            average=None if self.average is None else self.average.state_dict(),
            running_mean=self.running_mean.value,
        )

    def restore(self, state: TrainerState, epochs_done: int) -> None:
        """Continue from a state.

        Args:
            state: what `state()` returned after the last finished epoch.
            epochs_done: how many epochs were finished then.

        Raises:
            CheckpointError: the state is of another network.

        """
        if self.in_second_stage(epochs_done - 1):
            self.begin_second_stage()
        try:
            self.model.load_state_dict(state.model)
        except RuntimeError as error:
            raise CheckpointError(
                f"the checkpoint is of another network: {str(error).splitlines()[-1].strip()}"
            ) from error
        self.optimizer.load_state_dict(state.optimizer)
        self.running_mean.value = state.running_mean
        if self.average is not None:
            if state.average is None:
                raise CheckpointError("the checkpoint has no moving average of the weights, but the recipe keeps one")
            self.average.load_state_dict(state.average)
