"""The model that is trained: the recipe's normalisation, a backbone and a head, from pixels to features to logits."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.data.labelled_images import LabelledImages
from training.errors import RecipeError
from training.model.heads import Head, build_head
from training.model.networks.backbones import build_backbone
from training.recipe.recipe import Recipe

__all__ = ["Classifier", "check_sizes", "clean_batches"]


class Classifier(nn.Module):
    """Backbone and head: images to features to logits.

    Args:
        recipe: names the network and the head.
        num_classes: C.
        weights: a file of pretrained weights for the backbone; None leaves them random.

    """

    backbone: nn.Module
    head: Head
    mean: Tensor
    std: Tensor

    def __init__(self, recipe: Recipe, num_classes: int, weights: Path | None = None) -> None:
        super().__init__()
        self.backbone, self.feature_dim = build_backbone(recipe.network, weights)
        self.head = build_head(
            recipe.head, self.feature_dim, num_classes, num_heads=recipe.num_heads, tau=recipe.tau, gamma=recipe.gamma
        )
        self.register_buffer("mean", torch.tensor(recipe.mean).view(1, 3, 1, 1) * 255.0, persistent=False)
        self.register_buffer("std", torch.tensor(recipe.std).view(1, 3, 1, 1) * 255.0, persistent=False)

    @property
    def device(self) -> torch.device:
        """The device that holds the model."""
        return self.mean.device

    def normalise(self, images: Tensor) -> Tensor:
        """Scale (B, 3, H, W) uint8 to float32 of zero mean and unit variance per channel; the memory format is kept."""
        if torch.compiler.is_exporting() or not images.is_contiguous(memory_format=torch.channels_last):
            return (images.float() - self.mean) / self.std
        count, channels, height, width = images.shape  # whole rows take an eighth of the time of three channels
        scale = (1.0 / self.std).flatten().repeat(width)
        shift = (-self.mean / self.std).flatten().repeat(width)
        rows = images.permute(0, 2, 3, 1).reshape(count, height, width * channels).float()
        return torch.addcmul(shift, rows, scale).view(count, height, width, channels).permute(0, 3, 1, 2)

    def prepare(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        """Turn stored (B, H, W, 3) uint8 into normalised (B, 3, H, W) on the device, without augmentation."""
        return self.normalise(torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute (B, D) features and (B, C) logits, both float32, of (B, 3, H, W) normalised images.

        The head computes in float32 even under autocast: norms and cosines need more than bfloat16's 8 bits.
        """
        features: Tensor = self.backbone(images).float()
        with torch.autocast(features.device.type, enabled=False):
            return features, self.head(features)


@torch.no_grad()
def check_sizes(model: Classifier, recipe: Recipe) -> None:
    """Refuse a recipe with an image size that the network cannot take; some networks are made for one size.

    Args:
        model: on the CPU, so that an error is about sizes and not about GPU memory.
        recipe: names the image size and the progressive sizes.

    Raises:
        RecipeError: the network fails on a size; the message has the network's own.

    """
    training = model.training
    model.eval()
    for height, width in {(recipe.height, recipe.width)} | {(side, side) for _, side in recipe.progressive_sizes}:
        try:
            model(torch.zeros(1, 3, height, width))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise RecipeError(
                f"network {recipe.network} does not take images of {height} x {width} pixels: "
                f"{str(error).partition(chr(10))[0]}"
            ) from error
    model.train(training)


def clean_batches(
    model: Classifier, data: LabelledImages, batch_size: int = 250, share: slice = slice(None)
) -> Iterator[Tensor]:
    """Yield normalised images without augmentation, each once, in order.

    Args:
        model: normalises the images, and decides the device.
        data: all images.
        batch_size: images per batch.
        share: which of the images to yield; by default, all.

    """
    own = np.arange(len(data))[share]
    for start in range(0, len(own), batch_size):
        pixels = data.fetch(own[start : start + batch_size])
        yield model.prepare(pixels).contiguous(memory_format=torch.channels_last)
