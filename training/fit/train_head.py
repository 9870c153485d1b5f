"""Train a head on features that are known already; this takes seconds, because no picture is read.

The loss is plain cross-entropy and the optimiser SGD with momentum, as in the paper: momentum is what leaves the head
direction in the weights, which TDE removes. The features are divided by one number before training, and the weights of
a linear head after it, so that one learning rate suits every backbone. A head that normalises features is unaffected.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from training.errors import TrainingError
from training.fit.head_recipe import HeadRecipe
from training.model.heads import Head, LinearHead, build_head

__all__ = ["train_head"]

Float32 = NDArray[np.float32]


def train_head(kind: str, features: Float32, labels: NDArray[np.int64], num_classes: int, recipe: HeadRecipe) -> Head:
    """Train a head of `training.model.heads`.

    Args:
        kind: `deconfounded` or `linear`.
        features: (N, D), of any sign.
        labels: (N,) class indices.
        num_classes: C.
        recipe: how the head is trained.

    Returns:
        The head in evaluation mode: (B, D) unscaled features -> (B, C) logits.

    Raises:
        TrainingError: the loss became NaN or infinite.

    """
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    head = build_head(
        kind, features.shape[1], num_classes, num_heads=recipe.num_heads, tau=recipe.tau, gamma=recipe.gamma
    )
    x = torch.from_numpy(features)
    y = torch.from_numpy(labels)
    scale = float(x.square().mean().sqrt()) or 1.0
    steps_per_epoch = recipe.steps_per_epoch(len(x))
    epochs = recipe.epochs_for(len(x))
    optimiser = _optimiser(head, recipe)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * steps_per_epoch)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)[: steps_per_epoch * recipe.batch_size]
        for chosen in order.split(recipe.batch_size):
            loss = _step(head, optimiser, x[chosen] / scale, y[chosen])
            schedule.step()
        if not loss.isfinite():
            raise TrainingError(
                f"the loss of the {kind} head became infinite; use a --learning-rate below {recipe.learning_rate:g}"
            )
    if isinstance(head, LinearHead):
        with torch.no_grad():
            head.weight /= scale
    return head.eval()


def _optimiser(head: nn.Module, recipe: HeadRecipe) -> torch.optim.SGD:
    return torch.optim.SGD(
        head.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )


def _step(head: nn.Module, optimiser: torch.optim.Optimizer, features: Tensor, labels: Tensor) -> Tensor:
    optimiser.zero_grad(set_to_none=True)
    loss = F.cross_entropy(head(features), labels)
    loss.backward()
    optimiser.step()
    return loss.detach()
