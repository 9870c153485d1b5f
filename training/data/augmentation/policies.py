"""Augmentation policies: each image draws its own operations, and each operation runs on many images at once.

Operations are drawn from a generator on the CPU. All images of a chunk that drew the same operation are then changed
together. The CPU works out which images these are, so it never waits for a GPU.

Source: AutoAugment: Cubuk et al., CVPR 2019, arXiv:1805.09501. RandAugment: Cubuk et al., NeurIPS 2020,
arXiv:1909.13719; operations and strengths as in torchvision. Colour jitter: torchvision's ColorJitter.
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
    """Apply an AutoAugment policy: each image draws one of 25 pairs of operations, each applied with its probability.

    Args:
        images: (B, 3, H, W) uint8.
        generator: on the CPU.
        policy: the one learned on CIFAR-10 or on ImageNet.

    Returns:
        (B, 3, H, W) uint8, channels last in memory; the input is unchanged.

    """
    count = len(images)
    pairs = _pairs(policy)
    drawn = integers(len(pairs), (count,), generator)
    chances = uniform((count, 2), generator)
    positive = integers(2, (count, 2), generator)
    images = _copy_rows(images)
    for position in (0, 1):
        table, numbers, probabilities = _table(policy, position)
        chosen = torch.where(chances[:, position] < probabilities[drawn], numbers[drawn, positive[:, position]], -1)
        _apply_by_number(images, chosen, [partial(_apply, operation, MAX_LEVEL) for operation in table])
    return images.permute(0, 3, 1, 2)


def rand_augment(images: Tensor, generator: torch.Generator, *, count: int = 2, magnitude: int = 9) -> Tensor:
    """Apply RandAugment: each image draws `count` of 14 operations, all with the same strength.

    Args:
        images: (B, 3, H, W) uint8.
        generator: on the CPU.
        count: operations per image, the paper's N.
        magnitude: 0..30, the paper's M.

    Returns:
        (B, 3, H, W) uint8, channels last in memory; the input is unchanged.

    Raises:
        ValueError: the magnitude is out of range, or the count is negative.

    """
    if not 0 <= magnitude <= MAX_MAGNITUDE or count < 0:
        raise ValueError(
            f"RandAugment of {count} operations at magnitude {magnitude}: a magnitude is 0..{MAX_MAGNITUDE}"
        )
    names = RAND_AUGMENT_OPERATIONS
    drawn = integers(len(names), (len(images), count), generator)
    positive = integers(2, (len(images), count), generator)
    both = [(name, magnitude, sign) for name in names for sign in (-1, 1)]
    table, numbers = _numbered(both)
    images = _copy_rows(images)
    for position in range(count):
        chosen = numbers[2 * drawn[:, position] + positive[:, position]]
        chosen = torch.where(drawn[:, position] == names.index("Identity"), -1, chosen)
        _apply_by_number(images, chosen, [partial(_apply, operation, MAX_MAGNITUDE) for operation in table])
    return images.permute(0, 3, 1, 2)


def color_jitter(
    images: Tensor,
    generator: torch.Generator,
    *,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
) -> Tensor:
    """Change brightness, contrast and saturation; each image draws its factors and the order.

    Args:
        images: (B, 3, H, W) uint8.
        generator: on the CPU.
        brightness: factors are uniform from max(0, 1 - brightness) to 1 + brightness.
        contrast: in the same way.
        saturation: in the same way.

    Returns:
        (B, 3, H, W) uint8, channels last in memory; the input is unchanged.

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

    images = _copy_rows(images)
    _apply_by_number(images, drawn, [partial(jitter, order) for order in orders])
    return images.permute(0, 3, 1, 2)


def _copy_rows(images: Tensor) -> Tensor:
    """Return a contiguous copy (B, H, W, 3), in which each image is one block of memory."""
    return images.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)


def _apply(operation: Operation, levels: int, images: Tensor, _: Tensor) -> Tensor:
    name, level, sign = operation
    return apply_operation(images, name, sign * magnitude_of(name, level, levels, *images.shape[-2:]))


def _apply_by_number(rows: Tensor, numbers: Tensor, functions: list[Callable[[Tensor, Tensor], Tensor]]) -> None:
    """Change each image in place by the function that it drew.

    Args:
        rows: (B, H, W, 3) uint8, contiguous, on any device.
        numbers: (B,) indices into `functions`, -1 for none; on the CPU.
        functions: (b, 3, H, W) images, their (b,) indices on the CPU -> (b, 3, H, W).

    """
    counts = torch.bincount(numbers + 1, minlength=len(functions) + 1).tolist()
    order = numbers.argsort(stable=True)
    on_cpu = torch.split(order, counts)  # Tensor.split has no types
    on_device = torch.split(order.to(rows.device, non_blocking=True), counts)
    for function, indices, index in zip(functions, on_cpu[1:], on_device[1:], strict=True):
        if len(indices):
            changed = function(rows.index_select(0, index).permute(0, 3, 1, 2), indices)
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
    """Return the operations at one position of the pairs, (25, 2) indices into them by pair and sign, (25,) chances."""
    column = [pair[position] for pair in _pairs(policy)]
    both = [(name, level or 0, sign) for name, _, level in column for sign in (-1, 1)]
    table, numbers = _numbered(both)
    return table, numbers.view(len(column), 2), torch.tensor([probability for _, probability, _ in column])


def _numbered(operations: list[Operation]) -> tuple[list[Operation], Tensor]:
    """Return the distinct operations, and for each given operation the index of its equal among them."""
    normalised = [
        (name, 0 if name in STRENGTHLESS else level, sign if name in SIGNED else 1) for name, level, sign in operations
    ]
    table = list(dict.fromkeys(normalised))
    return table, torch.tensor([table.index(operation) for operation in normalised])
