"""Batched augmentation does what torchvision does to one image."""

import pytest
import torch
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

from training.data.augment import FILL, apply_operation, auto_augment, crop_and_flip, cutout

POLICY = AutoAugment(AutoAugmentPolicy.CIFAR10)
SPACE = POLICY._augmentation_space(10, (32, 32))


def noise(count: int = 4, side: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("operation", sorted(SPACE))
def test_every_operation_equals_torchvision_s(operation: str) -> None:
    magnitudes, signed = SPACE[operation]
    for level in range(10) if magnitudes.ndim else [None]:
        for sign in (-1, 1) if signed else (1,):
            magnitude = 0.0 if level is None else magnitudes[level].item() * sign
            expected = _apply_op(noise(), operation, magnitude, InterpolationMode.NEAREST, FILL)
            given = apply_operation(noise(), operation, level, sign)
            assert (given.int() - expected.int()).abs().max() <= 1, (
                operation,
                level,
                sign,
            )  # v1 and v2 round differently


def test_a_seed_gives_the_same_pictures_and_another_seed_others() -> None:
    one, again, other = (auto_augment(noise(64), seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.dtype == torch.uint8


def test_augmentation_leaves_its_input_alone() -> None:
    images = noise(32)
    auto_augment(images, seeded())
    assert torch.equal(images, noise(32))


def test_a_crop_is_a_shifted_and_perhaps_mirrored_picture() -> None:
    images = noise(40, 8).permute(0, 2, 3, 1)
    padded = torch.nn.functional.pad(images, (0, 0, 2, 2, 2, 2))
    for before, after in zip(padded, crop_and_flip(images, 2, seeded()), strict=True):
        windows = [before[y : y + 8, x : x + 8] for y in range(5) for x in range(5)]
        candidates = windows + [window.flip(1) for window in windows]
        assert any(torch.equal(after.permute(1, 2, 0), candidate) for candidate in candidates)


def test_about_half_of_the_pictures_are_mirrored() -> None:
    images = noise(400, 8).permute(0, 2, 3, 1)
    mirrored = (crop_and_flip(images, 0, seeded()).permute(0, 2, 3, 1) == images.flip(2)).flatten(1).all(dim=1).sum()
    assert 150 < mirrored < 250


def test_cutout_blanks_one_square_that_may_hang_over_the_edge() -> None:
    blanked = (cutout(torch.ones(200, 3, 16, 16), 6, seeded()) == 0).sum(dim=(2, 3))
    assert (blanked[:, 0] == blanked[:, 1]).all()
    assert blanked.max() == 36
    assert 9 <= blanked.min() < 36
