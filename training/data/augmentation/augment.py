"""Augmentation of whole chunks of images at once, on the device of the tensor.

On small images, augmenting one image at a time in Python costs more than the network. Here every operation takes a
whole chunk: crop and flip are one indexing operation, and policies (`policies.py`) apply an operation to all images of
the chunk that drew it. All random numbers come from one generator on the CPU. A seed therefore gives the same images on
every device, and the CPU never waits for a GPU.

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
    """Shift each image by up to `padding` pixels, filling with black, and mirror half of the images.

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
    """Blank a square of `size` pixels around a random centre; it may extend beyond the image.

    Args:
        images: (B, 3, H, W) normalised floats, so 0 is the mean colour.
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
    """Mix each image with another one of the batch; the caller mixes the losses in the same way.

    The cross-entropy with mixed labels is share · loss(logits, labels_a) + (1 - share) · loss(logits, labels_b). If
    several processes share a batch, each mixes only its own images.

    Args:
        images: (B, 3, H, W) floats.
        labels: (B,).
        alpha: above 0; one share for the batch is drawn from Beta(alpha, alpha).
        generator: on the CPU.

    Returns:
        share · images + (1 - share) · shuffled images; and (labels, shuffled labels, share).

    Raises:
        ValueError: alpha is not positive.

    """
    if not alpha > 0:
        raise ValueError(f"mixup alpha {alpha} must be above 0; to train without mixup, leave it out")
    seed = int(torch.randint(0, 2**63 - 1, (), generator=generator))  # torch cannot draw Beta from a given generator
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    order = torch.randperm(len(images), generator=generator).to(images.device, non_blocking=True)
    return torch.lerp(images[order], images, share), (labels, labels[order], share)
