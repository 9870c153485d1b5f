"""Batched policies do to each image what torchvision does to one."""

from collections import Counter

import pytest
import torch
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode, RandAugment
from torchvision.transforms import functional as one_by_one
from torchvision.transforms.autoaugment import _apply_op

from training.data.augmentation import policies
from training.data.augmentation.operations import (
    FILL,
    OPERATIONS,
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    adjust_sharpness,
    apply_operation,
    magnitude_of,
)
from training.data.augmentation.policies import RAND_AUGMENT_OPERATIONS, auto_augment, color_jitter, rand_augment

SIZES = [(32, 32), (24, 40)]


def noise(count: int = 4, height: int = 32, width: int = 32) -> torch.Tensor:
    images = torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=seeded())
    return images.permute(0, 3, 1, 2)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def difference(one: torch.Tensor, other: torch.Tensor) -> int:
    return int((one.int() - other.int()).abs().max())


def compare_with_torchvision(
    space: dict[str, tuple[torch.Tensor, bool]], operation: str, size: tuple[int, int]
) -> None:
    magnitudes, signed = space[operation]
    largest = len(magnitudes) - 1 if magnitudes.ndim else 1
    for level in range(largest + 1) if magnitudes.ndim else [0]:
        for sign in (-1, 1) if signed else (1,):
            magnitude = magnitude_of(operation, level, largest, *size) * sign
            assert magnitude == (magnitudes[level].item() * sign if magnitudes.ndim else 0.0)
            expected = _apply_op(noise(4, *size), operation, magnitude, InterpolationMode.NEAREST, FILL)
            given = apply_operation(noise(4, *size), operation, magnitude)
            assert difference(given, expected) <= 1, (operation, level, sign)  # v1 and v2 round differently


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - {"Identity"}))
def test_every_operation_of_auto_augment_equals_torchvision_s(operation: str, size: tuple[int, int]) -> None:
    compare_with_torchvision(AutoAugment(AutoAugmentPolicy.IMAGENET)._augmentation_space(10, size), operation, size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("operation", RAND_AUGMENT_OPERATIONS)
def test_every_operation_of_rand_augment_equals_torchvision_s(operation: str, size: tuple[int, int]) -> None:
    compare_with_torchvision(RandAugment()._augmentation_space(31, size), operation, size)


def test_rand_augment_draws_from_torchvision_s_operations() -> None:
    assert set(RAND_AUGMENT_OPERATIONS) == set(RandAugment()._augmentation_space(31, (32, 32)))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (adjust_brightness, one_by_one.adjust_brightness),
        (adjust_contrast, one_by_one.adjust_contrast),
        (adjust_saturation, one_by_one.adjust_saturation),
        (adjust_sharpness, one_by_one.adjust_sharpness),
    ],
)
def test_every_image_has_its_own_factor(ours: policies.Callable, theirs: policies.Callable) -> None:
    factors = torch.tensor([0.0, 0.3, 1.0, 1.9])
    expected = torch.stack([theirs(image, factor.item()) for image, factor in zip(noise(), factors, strict=True)])
    assert difference(ours(noise(), factors), expected) <= 1
    assert torch.equal(ours(noise(), 1.0), noise())


def spy(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, int]]:
    """Note which operations are done, how strongly, to how many images."""
    done: list[tuple[str, float, int]] = []

    def noting(images: torch.Tensor, name: str, magnitude: float) -> torch.Tensor:
        done.append((name, magnitude, len(images)))
        return apply_operation(images, name, magnitude)

    monkeypatch.setattr(policies, "apply_operation", noting)
    return done


@pytest.mark.parametrize("policy", ["cifar10", "imagenet"])
def test_operations_are_done_as_often_as_torchvision_s_table_says(
    monkeypatch: pytest.MonkeyPatch, policy: policies.PolicyName
) -> None:
    done = spy(monkeypatch)
    count = 20_000
    auto_augment(noise(count, 2, 2), seeded(), policy)
    table = AutoAugment(AutoAugmentPolicy[policy.upper()]).policies
    expected = Counter()
    given = Counter()
    for pair in table:
        for name, chance, level in pair:
            expected[name, magnitude_of(name, level or 0, 9, 2, 2)] += chance * count / len(table)
    for name, magnitude, images in done:
        given[name, abs(magnitude)] += images
    assert set(given) == {key for key, often in expected.items() if often}
    for key, often in expected.items():
        assert abs(given[key] - often) <= 5 * often**0.5, key  # five standard deviations


def test_rand_augment_does_each_operation_equally_often_at_one_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    done = spy(monkeypatch)
    count = 14_000
    rand_augment(noise(count, 2, 2), seeded(), count=2, magnitude=12)
    often = Counter()
    for name, magnitude, images in done:
        often[name] += images
        assert abs(magnitude) == magnitude_of(name, 12, 30, 2, 2)
    assert set(often) == set(RAND_AUGMENT_OPERATIONS) - {"Identity"}
    assert all(abs(images - 2000) < 220 for images in often.values())
    one_way = sum(images for name, magnitude, images in done if name == "Rotate" and magnitude > 0)
    assert abs(one_way - often["Rotate"] / 2) < 120


def test_images_that_draw_the_same_operation_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    done = spy(monkeypatch)
    rand_augment(noise(2000, 2, 2), seeded(), count=3)
    assert len(done) <= 3 * (14 + 9)  # nine have two directions


@pytest.mark.parametrize(
    "augment",
    [
        auto_augment,
        lambda images, generator: auto_augment(images, generator, "imagenet"),
        rand_augment,
        color_jitter,
    ],
)
def test_a_seed_gives_the_same_pictures_another_seed_others_and_the_input_stays(augment: policies.Callable) -> None:
    images = noise(64)
    one, again, other = (augment(images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert (one.dtype, one.shape) == (torch.uint8, images.shape)
    assert one.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, noise(64))


def test_no_operations_change_nothing_and_impossible_ones_are_refused() -> None:
    assert torch.equal(rand_augment(noise(), seeded(), count=0), noise())
    assert torch.equal(color_jitter(noise(), seeded(), brightness=0, contrast=0, saturation=0), noise())
    with pytest.raises(ValueError, match="magnitude 31"):
        rand_augment(noise(), seeded(), magnitude=31)


def test_colour_jitter_changes_each_image_by_factors_of_its_own_within_bounds() -> None:
    grey = torch.full((500, 3, 2, 2), 100, dtype=torch.uint8)  # contrast and saturation leave one grey as it is
    values = color_jitter(grey, seeded(), brightness=0.4)[:, 0, 0, 0]
    assert values.min() >= 59
    assert values.max() <= 140
    assert len(values.unique()) > 60


def test_colour_jitter_s_order_is_drawn_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "adjust_brightness", lambda images, _: images + 1)
    monkeypatch.setattr(policies, "adjust_contrast", lambda images, _: images * 2)
    monkeypatch.setattr(policies, "adjust_saturation", lambda images, _: images * images)
    values = color_jitter(torch.ones((600, 3, 1, 1), dtype=torch.uint8), seeded())[:, 0, 0, 0].tolist()
    assert set(values) == {16, 8, 9, 5, 4, 3}  # the six orders of x + 1, 2 x, x x
