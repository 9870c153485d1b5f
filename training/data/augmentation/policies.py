"""Augmentation policies: which operations an image goes through, drawn for each image, done for many together.

Every image draws its operations from a generator on the CPU. Images of a chunk that drew the same one are then taken
together; which they are is sorted out on the CPU, so that a GPU is never waited for.

Source: AutoAugment: Cubuk et al., CVPR 2019, arXiv:1805.09501. RandAugment: Cubuk et al., NeurIPS 2020,
arXiv:1909.13719; the operations and their strengths as torchvision has them. Colour jitter: torchvision's ColorJitter.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from itertools import permutations
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from training.data.augmentation.operations import (
    SIGNED,
    STRENGTHLESS,
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    apply_operation,
    magnitude_of,
)
from training.data.augmentation.random_numbers import integers, uniform

__all__ = ["RAND_AUGMENT_OPERATIONS", "PolicyName", "auto_augment", "color_jitter", "rand_augment"]

PolicyName = Literal["cifar10", "imagenet"]
Operation = tuple[str, int, int]  # name, level, sign

RAND_AUGMENT_OPERATIONS = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
    "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize",
)  # fmt: skip
MAX_LEVEL = 9
MAX_MAGNITUDE = 30


def auto_augment(images: Tensor, generator: torch.Generator, policy: PolicyName = "cifar10") -> Tensor:
    """Apply one of AutoAugment's policies: each image draws one of 25 pairs of operations, each done by chance.

    Args:
        images: (B, 3, H, W) uint8.
        generator: on the CPU.
        policy: found on CIFAR-10 or on ImageNet.

    Returns:
        (B, 3, H, W) uint8, channels last in memory; the input is not changed.

    """
    count = len(images)
    pairs = _pairs(policy)
    drawn = integers(len(pairs), (count,), generator)
    chances = uniform((count, 2), generator)
    positive = integers(2, (count, 2), generator)
    images = _own_rows(images)
    for position in (0, 1):
        table, numbers, probabilities = _table(policy, position)
        chosen = torch.where(chances[:, position] < probabilities[drawn], numbers[drawn, positive[:, position]], -1)
        _apply_by_number(images, chosen, [partial(_apply, each, MAX_LEVEL) for each in table])
    return images.permute(0, 3, 1, 2)


def rand_augment(images: Tensor, generator: torch.Generator, *, count: int = 2, magnitude: int = 9) -> Tensor:
    """Apply RandAugment: each image goes through `count` operations, drawn from 14, all of one strength.

    Args:
        images: (B, 3, H, W) uint8.
        generator: on the CPU.
        count: operations for each image, the paper's N.
        magnitude: 0..30, the paper's M.

    Returns:
        (B, 3, H, W) uint8, channels last in memory; the input is not changed.

    Raises:
        ValueError: the magnitude is out of its range, or the count negative.

    """
    if not 0 <= magnitude <= MAX_MAGNITUDE or count < 0:
        raise ValueError(f"RandAugment of {count} operations at magnitude {magnitude}: 0..{MAX_MAGNITUDE} works")
    names = RAND_AUGMENT_OPERATIONS
    drawn = integers(len(names), (len(images), count), generator)
    positive = integers(2, (len(images), count), generator)
    both = [(name, magnitude, sign) for name in names for sign in (-1, 1)]
    table, numbers = _numbered(both)
    images = _own_rows(images)
    for position in range(count):
        chosen = numbers[2 * drawn[:, position] + positive[:, position]]
        chosen = torch.where(drawn[:, position] == names.index("Identity"), -1, chosen)
        _apply_by_number(images, chosen, [partial(_apply, each, MAX_MAGNITUDE) for each in table])
    return images.permute(0, 3, 1, 2)


def color_jitter(
    images: Tensor,
    generator: torch.Generator,
    *,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
) -> Tensor:
    """Change brightness, contrast and saturation, in an order drawn for each image as its factors are.

    Args:
        images: (B, 3, H, W) uint8.
        generator: on the CPU.
        brightness: a factor is uniform in 1 - this, at least 0, to 1 + this.
        contrast: likewise.
        saturation: likewise.

    Returns:
        (B, 3, H, W) uint8, channels last in memory; the input is not changed.

    """
    orders = list(permutations(((adjust_brightness, 0), (adjust_contrast, 1), (adjust_saturation, 2))))
    drawn = integers(len(orders), (len(images),), generator)
    widths = torch.tensor([brightness, contrast, saturation])
    low = (1.0 - widths).clamp(min=0.0)
    high = 1.0 + widths
    factors = low + (high - low) * uniform((len(images), 3), generator)

    def jitter(order: tuple[tuple[Callable[..., Tensor], int], ...], part: Tensor, chosen: Tensor) -> Tensor:
        for adjust, column in order:
            part = adjust(part, factors[chosen, column])
        return part

    images = _own_rows(images)
    _apply_by_number(images, drawn, [partial(jitter, order) for order in orders])
    return images.permute(0, 3, 1, 2)


def _own_rows(images: Tensor) -> Tensor:
    """Return a copy, (B, H, W, 3) contiguous, where an image is one piece of memory."""
    return images.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)


def _apply(operation: Operation, levels: int, images: Tensor, _: Tensor) -> Tensor:
    name, level, sign = operation
    return apply_operation(images, name, sign * magnitude_of(name, level, levels, *images.shape[-2:]))


def _apply_by_number(rows: Tensor, numbers: Tensor, functions: list[Callable[[Tensor, Tensor], Tensor]]) -> None:
    """Let each image be changed by the function it drew, in place.

    Args:
        rows: (B, H, W, 3) uint8, contiguous, on any device.
        numbers: (B,) index into `functions`, -1 for none; on the CPU.
        functions: (b, 3, H, W) images, their (b,) indices on the CPU -> (b, 3, H, W).

    """
    counts = torch.bincount(numbers + 1, minlength=len(functions) + 1).tolist()
    order = numbers.argsort(stable=True)
    there = order.to(rows.device, non_blocking=True).split(counts)
    for function, here, index in zip(functions, order.split(counts)[1:], there[1:], strict=True):
        if len(here):
            changed = function(rows.index_select(0, index).permute(0, 3, 1, 2), here)
            rows.index_copy_(0, index, changed.permute(0, 2, 3, 1))


@lru_cache(maxsize=2)
def _pairs(policy: PolicyName) -> list[tuple[tuple[str, float, int | None], tuple[str, float, int | None]]]:
    names = {"cifar10": AutoAugmentPolicy.CIFAR10, "imagenet": AutoAugmentPolicy.IMAGENET}
    policies: list[tuple[tuple[str, float, int | None], tuple[str, float, int | None]]] = AutoAugment(
        names[policy]
    ).policies
    return policies


@lru_cache(maxsize=4)
def _table(policy: PolicyName, position: int) -> tuple[list[Operation], Tensor, Tensor]:
    """Return the operations at one position of the pairs, (25, 2) their numbers by pair and sign, (25,) chances."""
    column = [pair[position] for pair in _pairs(policy)]
    both = [(name, level or 0, sign) for name, _, level in column for sign in (-1, 1)]
    table, numbers = _numbered(both)
    return table, numbers.view(len(column), 2), torch.tensor([probability for _, probability, _ in column])


def _numbered(operations: list[Operation]) -> tuple[list[Operation], Tensor]:
    """Return the different ones among the operations, and for each operation the number of the one it equals."""
    equal = [
        (name, 0 if name in STRENGTHLESS else level, sign if name in SIGNED else 1) for name, level, sign in operations
    ]
    table = list(dict.fromkeys(equal))
    return table, torch.tensor([table.index(each) for each in equal])
