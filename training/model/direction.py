"""The mean training feature: where the classifier's preference for frequent classes points.

By default it is computed in one pass over the training set after training, in evaluation mode and without augmentation,
so that every image counts once. The authors instead keep a running sum during training (m ← μ·m + batch mean, μ = 0.9),
which mixes augmented images, train-mode batch norm and only the last few dozen batches; recipes can choose it. Only the
direction matters: scaling m does not change TDE.
"""

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models import tde
from training.model.classifier import Classifier
from training.model.heads import NormalisedHead

__all__ = ["RunningMean", "class_effect_of", "clean_means"]


@torch.inference_mode()
def clean_means(
    model: Classifier, batches: Iterable[Tensor], sum_of_shares: Callable[[Tensor], Tensor] = lambda share: share
) -> tuple[Tensor, Tensor | None]:
    """Return the mean feature and the mean normalised feature over all images.

    From the second follows the mean head cosine for any direction d, without another pass:
    mean(x̂_k·d̂_k) = mean(x̂_k)·d̂_k.

    Args:
        model: in evaluation mode.
        batches: normalised images (B, 3, H, W), each training image exactly once.
        sum_of_shares: if several processes share the images, sums a tensor over the processes.

    Returns:
        The mean x, (D,) float32 on the CPU; the mean x̂, (K, D/K) float32 on the CPU, or None for a linear head.

    """
    feature_sum = torch.zeros(model.feature_dim, dtype=torch.float64)
    heads = model.head.num_heads if isinstance(model.head, NormalisedHead) else 1
    normalised_sum = torch.zeros(heads, model.feature_dim // heads, dtype=torch.float64)
    count = torch.zeros((), dtype=torch.float64)
    for images in batches:
        features: Tensor = model.backbone(images).float()
        feature_sum += features.double().sum(dim=0).cpu()
        count += len(features)
        if isinstance(model.head, NormalisedHead):
            normalised_sum += model.head.normalise(features).double().sum(dim=0).cpu()
    count = sum_of_shares(count)
    mean, normalised_mean = ((sum_of_shares(total) / count).float() for total in (feature_sum, normalised_sum))
    return mean, normalised_mean if isinstance(model.head, NormalisedHead) else None


class RunningMean:
    """The authors' running mean: m ← μ·m + the mean of the batch's features.

    Args:
        feature_dim: D.
        momentum: μ.
        mean_of_shares: if several processes share a batch, averages a tensor over the processes.

    """

    def __init__(
        self,
        feature_dim: int,
        momentum: float = 0.9,
        mean_of_shares: Callable[[Tensor], Tensor] = lambda share: share,
    ) -> None:
        self.momentum = momentum
        self.mean_of_shares = mean_of_shares
        self.value = torch.zeros(feature_dim)

    def update(self, features: Tensor) -> None:
        """Add a batch of features, (B, D), or this process's share of it."""
        self.value = self.momentum * self.value + self.mean_of_shares(features.detach().float().mean(dim=0)).cpu()


def class_effect_of(head: NormalisedHead, mean_feature: Tensor) -> npt.NDArray[np.float32]:
    """Return the (K, C) class effects that a bundle stores, see `models/tde.py`.

    Args:
        head: the trained head.
        mean_feature: (D,).

    """
    return tde.class_effect(
        head.weight.detach().numpy(), mean_feature.numpy(), num_heads=head.num_heads, tau=head.tau, gamma=head.gamma
    )
