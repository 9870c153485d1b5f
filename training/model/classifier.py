"""The trained thing: a backbone, a head and the recipe's normalisation, from uint8 pixels to features to logits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.data.labelled_images import LabelledImages
from training.errors import CheckpointError, RecipeError
from training.model.heads import build_head
from training.model.networks import build_backbone
from training.recipe.recipe import Recipe

__all__ = ["Classifier", "check_sizes", "clean_batches", "restore_classifier"]


class Classifier(nn.Module):
    """Backbone and head: images to features to logits.

    Args:
        recipe: its network and head.
        num_classes: C.
        weights: file of pretrained weights for the backbone; None leaves them random.

    """

    def __init__(self, recipe: Recipe, num_classes: int, weights: Path | None = None) -> None:
        super().__init__()
        self.backbone, self.feature_dim = build_backbone(recipe.network, weights)
        self.head = build_head(
            recipe.head, self.feature_dim, num_classes, num_heads=recipe.num_heads, tau=recipe.tau, gamma=recipe.gamma
        )
        self.register_buffer("mean", torch.tensor(recipe.mean).view(1, 3, 1, 1) * 255.0, persistent=False)
        self.register_buffer("std", torch.tensor(recipe.std).view(1, 3, 1, 1) * 255.0, persistent=False)

    def normalise(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> float32, per channel zero mean and unit spread; channels last in memory stays so."""
        if torch.compiler.is_exporting() or not images.is_contiguous(memory_format=torch.channels_last):
            return (images.float() - self.mean) / self.std
        count, channels, height, width = images.shape  # whole rows at a time: an eighth of the time of three channels
        scale = (1.0 / self.std).flatten().repeat(width)
        shift = (-self.mean / self.std).flatten().repeat(width)
        rows = images.permute(0, 2, 3, 1).reshape(count, height, width * channels).float()
        return torch.addcmul(shift, rows, scale).view(count, height, width, channels).permute(0, 3, 1, 2)

    def prepare(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        """(B, H, W, 3) uint8 as stored -> normalised (B, 3, H, W) on the device, not augmented."""
        return self.normalise(torch.from_numpy(pixels).to(self.mean.device).permute(0, 3, 1, 2))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalised images -> (B, D) features and (B, C) logits, both float32.

        The head computes in float32 under autocast too: norms and cosines need more than bfloat16's 8 bits.
        """
        features = self.backbone(images).float()
        with torch.autocast(features.device.type, enabled=False):
            return features, self.head(features)


@torch.no_grad()
def check_sizes(model: Classifier, recipe: Recipe) -> None:
    """Refuse a size of pictures, first ones included, that the network cannot take: some are made for one size.

    Args:
        model: on the CPU, where what goes wrong is about sizes and not about memory.
        recipe: its sizes.

    Raises:
        RecipeError: which size, and what the network says.

    """
    training = model.training
    model.eval()
    for height, width in {(recipe.height, recipe.width)} | {(side, side) for _, side in recipe.progressive_sizes}:
        try:
            model(torch.zeros(1, 3, height, width))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise RecipeError(
                f"network {recipe.network} does not take pictures of {height} x {width} pixels: "
                f"{str(error).partition(chr(10))[0]}"
            ) from error
    model.train(training)


def restore_classifier(state: dict[str, Any], recipe: Recipe) -> Classifier:
    """Return the trained model in evaluation mode, on the CPU; the moving average where the recipe keeps one."""
    if not state["finished"]:
        raise CheckpointError(
            f"the run stopped after {state['epochs_done']} of {recipe.epochs} epochs; finish it with "
            "`train … --resume`, then export"
        )
    model = Classifier(recipe, len(state["classes"]))
    weights = state["model"]
    if state["average"] is not None:
        weights = {
            name.removeprefix("module."): value for name, value in state["average"].items() if name != "n_averaged"
        }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint is of another network: {str(error).splitlines()[-1].strip()}") from error
    return model.eval()


def clean_batches(
    model: Classifier, data: LabelledImages, batch_size: int = 250, share: slice = slice(None)
) -> Iterator[Tensor]:
    """Yield every image, or every one of a share, once, in order, normalised and not augmented."""
    own = np.arange(len(data))[share]
    for start in range(0, len(own), batch_size):
        pixels = data.fetch(own[start : start + batch_size])
        yield model.prepare(pixels).contiguous(memory_format=torch.channels_last)
