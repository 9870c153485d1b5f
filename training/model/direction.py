"""The mean training feature: where the classifier's preference for frequent classes points.

Default: one clean pass over the training set when training has ended, in evaluation mode, without augmentation, with
every image counted once. The authors keep a running sum during training instead (m ← μ·m + batch mean, μ = 0.9), which
mixes augmented images, train-mode batch norm and the last few dozen batches; it is kept here as an option. Only the
direction matters: TDE does not change when m is scaled.
"""

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models import tde
from models.objective import ALPHA_RANGE
from training.model.classifier import Classifier
from training.model.heads import NormalisedHead

__all__ = ["MIN_MEAN_COSINE", "RunningMean", "class_effect_of", "clean_means"]

MIN_MEAN_COSINE = 1.0 / ALPHA_RANGE[1]  # below it, the label-free alpha is larger than any that is ever chosen


@torch.inference_mode()
def clean_means(
    model: Classifier, batches: Iterable[Tensor], sum_of_shares: Callable[[Tensor], Tensor] = lambda share: share
) -> tuple[Tensor, Tensor | None]:
    """Return the mean feature and the mean normalised feature over all images.

    The second gives the mean head cosine without another pass, for any direction d: mean(x̂_k·d̂_k) = mean(x̂_k)·d̂_k.

    Args:
        model: in evaluation mode.
        batches: normalised images (B, 3, H, W), each training image exactly once.
        sum_of_shares: where several processes share the images, their sum of a tensor.

    Returns:
        mean x, (D,) float32 on the CPU; mean x̂, (K, D/K) float32 on the CPU, None for a head that does not normalise.

    """
    feature_sum = torch.zeros(model.feature_dim, dtype=torch.float64)
    heads = model.head.num_heads if isinstance(model.head, NormalisedHead) else 1
    normalised_sum = torch.zeros(heads, model.feature_dim // heads, dtype=torch.float64)
    count = torch.zeros((), dtype=torch.float64)
    for images in batches:
        features = model.backbone(images).float()
        feature_sum += features.double().sum(dim=0).cpu()
        count += len(features)
        if isinstance(model.head, NormalisedHead):
            normalised_sum += model.head.normalise(features).double().sum(dim=0).cpu()
    count = sum_of_shares(count)
    mean, normalised_mean = ((sum_of_shares(total) / count).float() for total in (feature_sum, normalised_sum))
    return mean, normalised_mean if isinstance(model.head, NormalisedHead) else None


class RunningMean:
    """The authors' running mean: m ← μ·m + mean of the batch's features.

    Args:
        feature_dim: D.
        momentum: μ.
        mean_of_shares: where several processes share a batch, their mean of a tensor.

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
        """Take in a batch of features, (B, D), or one's share of it."""
        self.value = self.momentum * self.value + self.mean_of_shares(features.detach().float().mean(dim=0)).cpu()


def class_effect_of(model: Classifier, mean_feature: Tensor) -> npt.NDArray[np.float32]:
    """Return the (K, C) table that a bundle stores, see models/tde.py."""
    head = model.head
    return tde.class_effect(
        head.weight.detach().numpy(), mean_feature.numpy(), num_heads=head.num_heads, tau=head.tau, gamma=head.gamma
    )
