"""The mean training feature: where the classifier's preference for frequent classes points.

Default: one clean pass over the training set when training has ended, in evaluation mode, without augmentation, with
every image counted once. The authors keep a running sum during training instead (m ← μ·m + batch mean, μ = 0.9), which
mixes augmented images, train-mode batch norm and the last few dozen batches; it is kept here as an option. Only the
direction matters: TDE does not change when m is scaled.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from training.classifier import Classifier
from training.heads import NormalisedHead

__all__ = ["RunningMean", "clean_means"]


@torch.inference_mode()
def clean_means(model: Classifier, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Return the mean feature and the mean normalised feature over all images.

    The second gives the mean head cosine without another pass, for any direction d: mean(x̂_k·d̂_k) = mean(x̂_k)·d̂_k.

    Args:
        model: in evaluation mode.
        batches: normalised images (B, 3, H, W), each training image exactly once.
    Returns:
        mean x, (D,) float32 on the CPU; mean x̂, (K, D/K) float32 on the CPU, None for a head that does not normalise.
    """
    feature_sum = torch.zeros(model.feature_dim, dtype=torch.float64)
    normalised_sum: Tensor | None = None
    count = 0
    for images in batches:
        features = model.backbone(images).float()
        feature_sum += features.double().sum(dim=0).cpu()
        count += len(features)
        if isinstance(model.head, NormalisedHead):
            part = model.head.normalise(features).double().sum(dim=0).cpu()
            normalised_sum = part if normalised_sum is None else normalised_sum + part
    return (feature_sum / count).float(), None if normalised_sum is None else (normalised_sum / count).float()


class RunningMean:
    """The authors' running mean: m ← μ·m + mean of the batch's features."""

    def __init__(self, feature_dim: int, momentum: float = 0.9) -> None:
        self.momentum = momentum
        self.value = torch.zeros(feature_dim)

    def update(self, features: Tensor) -> None:
        """Take in a batch of features, (B, D)."""
        self.value = self.momentum * self.value + features.detach().float().mean(dim=0).cpu()
