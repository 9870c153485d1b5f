"""A head trained on features that are there already: seconds, as no picture is touched.

SGD with momentum on the plain cross-entropy, as in the paper: the head direction that TDE takes out is what momentum
leaves in the weights. Features are scaled by one number before (and the weights of a linear head after), so that one
learning rate fits every backbone; a head that normalises does not see it.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from training.errors import TrainingError
from training.heads import LinearHead, build_head

__all__ = ["LINEAR", "HeadRecipe", "train_head"]

EPOCHS, LEAST_STEPS = 30, 500
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class HeadRecipe:
    """How a head is trained; the defaults are those of a study, training/LOG.md.

    Attributes:
        epochs: times over all features; None is 30, and more for few features, so that there are 500 steps.
        learning_rate: at first; it falls to 0 along half a cosine.
        weight_decay: of the class weights.
        batch_size: features a step.
        momentum: of SGD.
        num_heads, tau, gamma: K, τ, γ of the de-confounded head.
        seed: of weights and order.
    """

    epochs: int | None = None
    learning_rate: float = 0.5
    weight_decay: float = 2e-3
    batch_size: int = 256
    momentum: float = 0.9
    num_heads: int = 2
    tau: float = 16.0
    gamma: float = 1 / 32
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        if self.epochs is not None and self.epochs < 1:
            raise TrainingError(f"--epochs {self.epochs}: at least 1")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise TrainingError(
                f"learning rate {self.learning_rate:g}, weight decay {self.weight_decay:g}: the first must be above 0, "
                "the second not below"
            )

    def steps_per_epoch(self, count: int) -> int:
        """Return how many whole batches so many features make; fewer than one batch are one step."""
        return max(1, count // self.batch_size)

    def epochs_for(self, count: int) -> int:
        """Return how often so many features are gone through."""
        return self.epochs or max(EPOCHS, math.ceil(LEAST_STEPS / self.steps_per_epoch(count)))

    def sentence(self, count: int) -> str:
        """Say how a head is trained on so many features.

        >>> LINEAR.sentence(100_000)
        '30 epochs at learning rate 0.01 and weight decay 0.005'
        """
        rate = f"learning rate {self.learning_rate:g} and weight decay {self.weight_decay:g}"
        return f"{self.epochs_for(count)} epochs at {rate}"


LINEAR = HeadRecipe(learning_rate=0.01, weight_decay=5e-3)  # its own best, as its logits have no bound


def train_head(
    kind: str, features: Float32, labels: NDArray[np.int64], num_classes: int, recipe: HeadRecipe
) -> nn.Module:
    """Train a head of `training.heads`.

    Args:
        kind: `deconfounded` or `linear`.
        features: (N, D), of any sign.
        labels: (N,) class indices.
        num_classes: C.
        recipe: how.
    Returns:
        The head in evaluation mode, (B, D) features as given -> (B, C) logits.
    Raises:
        TrainingError: the loss does not stay finite.
    """
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    head = build_head(
        kind, features.shape[1], num_classes, num_heads=recipe.num_heads, tau=recipe.tau, gamma=recipe.gamma
    )
    x, y = torch.from_numpy(features), torch.from_numpy(labels)
    scale = float(x.square().mean().sqrt()) or 1.0
    steps_per_epoch, epochs = recipe.steps_per_epoch(len(x)), recipe.epochs_for(len(x))
    optimiser = torch.optim.SGD(
        head.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * steps_per_epoch)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)[: steps_per_epoch * recipe.batch_size]
        for chosen in order.split(recipe.batch_size):
            loss = _step(head, optimiser, x[chosen] / scale, y[chosen])
            schedule.step()
        if not loss.isfinite():
            raise TrainingError(
                f"training the {kind} head did not stay finite; take a smaller --learning-rate than "
                f"{recipe.learning_rate:g}"
            )
    if isinstance(head, LinearHead):
        with torch.no_grad():
            head.weight /= scale
    return head.eval()


def _step(head: nn.Module, optimiser: torch.optim.Optimizer, features: Tensor, labels: Tensor) -> Tensor:
    optimiser.zero_grad(set_to_none=True)
    loss = F.cross_entropy(head(features), labels)
    loss.backward()
    optimiser.step()
    return loss.detach()
