"""A head trained on features that are there already: seconds, as no picture is touched.

SGD with momentum on the plain cross-entropy, as in the paper: the head direction that TDE takes out is what momentum
leaves in the weights. Features are scaled by one number before (and the weights of a linear head after), so that one
learning rate fits every backbone; a head that normalises does not see it.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from training.errors import TrainingError
from training.fit.head_recipe import HeadRecipe
from training.model.heads import LinearHead, build_head

__all__ = ["train_head"]

Float32 = NDArray[np.float32]


def train_head(
    kind: str, features: Float32, labels: NDArray[np.int64], num_classes: int, recipe: HeadRecipe
) -> nn.Module:
    """Train a head of `training.model.heads`.

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
    x = torch.from_numpy(features)
    y = torch.from_numpy(labels)
    scale = float(x.square().mean().sqrt()) or 1.0
    steps_per_epoch = recipe.steps_per_epoch(len(x))
    epochs = recipe.epochs_for(len(x))
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
