"""Batched augmentation does what torchvision does to one image."""

import pytest
import torch

from training.data.augmentation.augment import crop_and_flip, cutout, mixup
from training.model.classifier import Classifier
from training.recipe.recipe import Recipe


def noise(count: int = 4, side: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


def test_mixup_mixes_images_as_it_says_the_labels_are_to_be_mixed() -> None:
    images = torch.eye(6).view(6, 1, 1, 6).expand(6, 3, 4, 6)
    labels = torch.arange(6)
    mixed, (ours, theirs, share) = mixup(images, labels, 0.4, seeded(3))
    expected = share * images + (1 - share) * images[theirs]
    torch.testing.assert_close(mixed, expected)
    assert torch.equal(ours, labels)
    assert torch.equal(theirs.sort().values, labels)
    assert 0 < share < 1


def test_mixup_draws_its_share_from_beta() -> None:
    generator = seeded()
    images = torch.zeros(2, 3, 1, 1)
    labels = torch.zeros(2)
    shares = torch.tensor([mixup(images, labels, 0.5, generator)[1][2] for _ in range(2000)])
    assert abs(shares.mean() - 0.5) < 0.03  # Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)) = 1/8
    assert abs(shares.var() - 1 / 8) < 0.01


def test_mixup_is_the_same_for_the_same_seed_and_refuses_an_alpha_of_zero() -> None:
    images = torch.rand(4, 3, 2, 2)
    labels = torch.arange(4)
    one, again = (mixup(images, labels, 1.0, seeded(5)) for _ in range(2))
    assert torch.equal(one[0], again[0])
    assert one[1][2] == again[1][2]
    with pytest.raises(ValueError, match="must be above 0"):
        mixup(images, labels, 0.0, seeded())


@pytest.mark.parametrize("channels_last", [True, False])
def test_normalising_takes_off_the_mean_and_divides_by_the_spread(recipe: Recipe, channels_last: bool) -> None:
    model = Classifier(recipe, 3)
    images = noise(4, 8)
    given = model.normalise(
        images.contiguous(memory_format=torch.channels_last) if channels_last else images.contiguous()
    )
    expected = (images / 255.0 - torch.tensor(recipe.mean).view(3, 1, 1)) / torch.tensor(recipe.std).view(3, 1, 1)
    torch.testing.assert_close(given, expected, atol=1e-6, rtol=1e-6)
    assert given.is_contiguous(memory_format=torch.channels_last) == channels_last
