"""Augmentation for whole chunks of images at once, on whatever device the tensor is on.

Per-image augmentation in Python costs more than the network on small images. Here every operation takes a whole chunk:
crop and flip are one indexing operation, and policies (`policies.py`) apply an operation to all images of the chunk
that drew it. All randomness comes from one generator on the CPU, so that a seed gives the same images on every device,
and a GPU is never waited for.

Source: Cutout: DeVries & Taylor 2017, arXiv:1708.04552. Mixup: Zhang et al., ICLR 2018, arXiv:1710.09412.
"""

import numpy as np
import torch
from torch import Tensor

from training.data.augmentation.policies import auto_augment, color_jitter, rand_augment
from training.data.augmentation.random_crops import mirror
from training.data.augmentation.random_numbers import integers, uniform

__all__ = ["auto_augment", "color_jitter", "crop_and_flip", "cutout", "mixup", "rand_augment"]


def crop_and_flip(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Shift each image by up to `padding` pixels (black comes in), and mirror half of them.

    Args:
        images: (B, H, W, 3) uint8.
        padding: pixels.
        generator: on the CPU.

    Returns:
        (B, 3, H, W) uint8, channels last in memory.

    """
    count, height, width, channels = images.shape
    down, right = integers(2 * padding + 1, (2, count), generator, images=1).to(images.device, non_blocking=True)
    flip = uniform((count,), generator) < 0.5
    padded = torch.nn.functional.pad(images, (0, 0, padding, padding, padding, padding)).flatten(2)
    windows = padded.unfold(1, height, 1).unfold(2, width * channels, channels)  # (B, 2p+1, 2p+1, H, 3 W), a view
    picked = windows[torch.arange(count, device=images.device), down, right].view(count, height, width, channels)
    return mirror(picked, flip).permute(0, 3, 1, 2)


def cutout(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Blank a square of `size` pixels around a random centre; it may hang over the edge.

    Args:
        images: (B, 3, H, W) normalised floats, so that 0 is the mean colour.
        size: side of the square in pixels.
        generator: on the CPU.

    """
    count, _, height, width = images.shape
    device = images.device
    top = integers(height, (count, 1), generator).to(device, non_blocking=True) - size // 2
    left = integers(width, (count, 1), generator).to(device, non_blocking=True) - size // 2
    rows = torch.arange(height, device=device)
    columns = torch.arange(width, device=device)
    in_rows = (rows >= top) & (rows < top + size)
    in_columns = (columns >= left) & (columns < left + size)
    return images.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0.0)


def mixup(
    images: Tensor, labels: Tensor, alpha: float, generator: torch.Generator
) -> tuple[Tensor, tuple[Tensor, Tensor, float]]:
    """Mix each image with another of the batch; the loss is then to be mixed alike.

    Where several processes share a batch, an image is mixed with one of the same process's.

    share · loss(logits, labels_a) + (1 - share) · loss(logits, labels_b) is the cross-entropy with mixed labels.

    Args:
        images: (B, 3, H, W) floats.
        labels: (B,).
        alpha: > 0, of the Beta(alpha, alpha) distribution that one share for the batch is drawn from.
        generator: on the CPU.

    Returns:
        share · images + (1 - share) · images in another order; and labels, labels in that order, share.

    Raises:
        ValueError: alpha is not positive.

    """
    if not alpha > 0:
        raise ValueError(f"mixup alpha {alpha} is not above 0; leave mixup out instead")
    seed = int(torch.randint(0, 2**63 - 1, (), generator=generator))  # torch draws no Beta from a generator
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    order = torch.randperm(len(images), generator=generator).to(images.device, non_blocking=True)
    return torch.lerp(images[order], images, share), (labels, labels[order], share)
