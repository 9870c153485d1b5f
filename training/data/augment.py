"""Augmentation for whole chunks of images at once, on whatever device the tensor is on.

Per-image augmentation in Python costs more than the network on small images. Here every operation takes a whole chunk:
crop and flip are one indexing operation, and AutoAugment applies torchvision's own operations to all images of the
chunk that drew the same one. All randomness comes from one generator on the CPU, so that a seed gives the same images
on every device.

Source: AutoAugment: Cubuk et al., CVPR 2019, arXiv:1805.09501. Cutout: DeVries & Taylor 2017, arXiv:1708.04552.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.v2 import functional as F

from training.data.draws import integers, uniform

__all__ = ["auto_augment", "crop_and_flip", "cutout"]

FILL = [128.0, 128.0, 128.0]  # what geometric operations leave bare; AutoAugment's own grey


def crop_and_flip(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Shift each image by up to `padding` pixels (black comes in), and mirror half of them.

    Args:
        images: (B, H, W, 3) uint8.
        padding: pixels.
        generator: on the CPU.
    Returns:
        (B, 3, H, W) uint8, channels last in memory.
    """
    count, height, width, _ = images.shape
    device = images.device
    offsets = integers(2 * padding + 1, (2, count, 1), generator, images=1).to(device)
    flip = uniform((count, 1), generator).to(device) < 0.5
    rows = torch.arange(height, device=device) + offsets[0]
    columns = torch.arange(width, device=device).expand(count, width)
    columns = torch.where(flip, columns.flip(1), columns) + offsets[1]
    padded = torch.nn.functional.pad(images, (0, 0, padding, padding, padding, padding))
    picked = padded[torch.arange(count, device=device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def cutout(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Blank a square of `size` pixels around a random centre; it may hang over the edge.

    Args:
        images: (B, 3, H, W) normalised floats, so that 0 is the mean colour.
        size: side of the square in pixels.
        generator: on the CPU.
    """
    count, _, height, width = images.shape
    device = images.device
    top = integers(height, (count, 1), generator).to(device) - size // 2
    left = integers(width, (count, 1), generator).to(device) - size // 2
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    in_rows, in_columns = (rows >= top) & (rows < top + size), (columns >= left) & (columns < left + size)
    return images.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0.0)


def auto_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply AutoAugment's CIFAR-10 policy: each image draws one of 25 pairs of operations, each done by chance.

    Args:
        images: (B, 3, H, W) uint8.
        generator: on the CPU.
    Returns:
        (B, 3, H, W) uint8; the input is not changed.
    """
    count = len(images)
    policies = _policies()
    drawn = integers(len(policies), (count,), generator)
    chances = uniform((count, 2), generator)
    signs = integers(2, (count, 2), generator)
    images = images.clone()
    for position in (0, 1):
        for number, policy in enumerate(policies):
            operation, probability, level = policy[position]
            mine = (drawn == number) & (chances[:, position] < probability)
            for sign in (-1, 1):
                chosen = (mine & (signs[:, position] == (sign > 0))).nonzero()[:, 0].to(images.device)
                if len(chosen):
                    images[chosen] = apply_operation(images[chosen], operation, level, sign)
    return images


@lru_cache(maxsize=1)
def _policies() -> list[tuple[tuple[str, float, int | None], tuple[str, float, int | None]]]:
    return AutoAugment(AutoAugmentPolicy.CIFAR10).policies


def apply_operation(images: Tensor, operation: str, level: int | None, sign: int) -> Tensor:
    """Apply one AutoAugment operation to all images alike.

    Args:
        images: (B, 3, H, W) uint8.
        operation: the name in torchvision's policy table.
        level: 0..9, how strong; None where the operation has no strength.
        sign: -1 or 1, the direction of the operations that have one.
    """
    share = 0.0 if level is None else level / 9.0
    return _OPERATIONS[operation](images, share, sign)


def _affine(
    images: Tensor, angle: float = 0.0, shift: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0.0, 0.0)
) -> Tensor:
    center = [0, 0] if any(shear) else None
    return F.affine(images, angle, list(shift), 1.0, list(shear), fill=FILL, center=center)


def _shear_degrees(share: float, sign: int) -> float:
    return torch.rad2deg(torch.atan(torch.tensor(0.3 * share * sign))).item()


# Strengths as in torchvision's AutoAugment: share is level / 9 of the largest strength.
_OPERATIONS: dict[str, Callable[[Tensor, float, int], Tensor]] = {
    "ShearX": lambda x, share, sign: _affine(x, shear=(_shear_degrees(share, sign), 0.0)),
    "ShearY": lambda x, share, sign: _affine(x, shear=(0.0, _shear_degrees(share, sign))),
    "TranslateX": lambda x, share, sign: _affine(x, shift=(int(150 / 331 * x.shape[-1] * share) * sign, 0)),
    "TranslateY": lambda x, share, sign: _affine(x, shift=(0, int(150 / 331 * x.shape[-2] * share) * sign)),
    "Rotate": lambda x, share, sign: F.rotate(x, 30.0 * share * sign, fill=FILL),
    "Brightness": lambda x, share, sign: F.adjust_brightness(x, 1.0 + 0.9 * share * sign),
    "Color": lambda x, share, sign: F.adjust_saturation(x, 1.0 + 0.9 * share * sign),
    "Contrast": lambda x, share, sign: F.adjust_contrast(x, 1.0 + 0.9 * share * sign),
    "Sharpness": lambda x, share, sign: F.adjust_sharpness(x, 1.0 + 0.9 * share * sign),
    "Posterize": lambda x, share, _: F.posterize(x, 8 - round(4 * share)),
    "Solarize": lambda x, share, _: F.solarize(x, 255.0 * (1.0 - share)),
    "AutoContrast": lambda x, _, __: F.autocontrast(x),
    "Equalize": lambda x, _, __: F.equalize(x),
    "Invert": lambda x, _, __: F.invert(x),
}
