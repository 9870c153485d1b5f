"""Random crops are torchvision's, and the same wherever they are cut."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from models.manifest import ImageRecipe
from training.data.augmentation.random_crops import RandomCrops, crop_and_resize, mirror, resize_together
from training.data.class_folders import open_class_folders
from training.data.labelled_images import LabelledImages, load_images
from training.errors import DataError

RECIPE = ImageRecipe(height=24, width=24, resize=24, mean=(0.5,) * 3, std=(0.5,) * 3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=seeded())


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (32, 32), (3, 2), (1, 1)])
def test_boxes_lie_in_the_picture_and_have_the_area_and_shape_asked_for(size: tuple[int, int]) -> None:
    width, height = size
    left, top, right, bottom = RandomCrops.draw(500, seeded()).boxes(width, height).T
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (right <= width).all()
    assert (bottom <= height).all()
    assert ((right > left) & (bottom > top)).all()
    if width >= 100:
        area = (right - left) * (bottom - top) / (width * height)
        ratio = (right - left) / (bottom - top)
        assert 0.075 < area.min() < 0.12
        assert area.max() > 0.9
        assert 0.73 < ratio.min() < 0.78
        assert 1.28 < ratio.max() < 1.37


def test_area_is_uniform_shape_uniform_in_its_logarithm_and_place_uniform() -> None:
    crops = RandomCrops.draw(20_000, seeded(), scale=(0.1, 0.3))  # small enough that the first try always fits
    left, top, right, bottom = crops.boxes(1000, 1000).T
    area = (right - left) * (bottom - top) / 1e6
    shape = np.log((right - left) / (bottom - top))
    for values, low, high in (
        (area, 0.1, 0.3),
        (shape, math.log(3 / 4), math.log(4 / 3)),
        (left / (1000 - right + left), 0.0, 1.0),
        (top / (1000 - bottom + top), 0.0, 1.0),
    ):
        deciles = np.histogram(values, 10, (low, high))[0]
        assert abs(deciles - 2000).max() < 220  # five standard deviations
    assert 9_600 < crops.flip.sum() < 10_400


@pytest.mark.parametrize(("size", "expected"), [((1000, 10), (493, 0, 507, 10)), ((10, 1000), (0, 493, 10, 506))])
def test_a_long_thin_picture_gives_its_middle(size: tuple[int, int], expected: tuple[int, ...]) -> None:
    left, top, right, bottom = RandomCrops.draw(1, seeded(), scale=(1.0, 1.0)).box(0, *size)
    assert max(abs(given - wanted) for given, wanted in zip((left, top, right, bottom), expected, strict=True)) <= 1


def test_a_seed_gives_the_same_crops_and_a_part_of_them_is_those() -> None:
    crops = RandomCrops.draw(9, seeded(1))
    again = RandomCrops.draw(9, seeded(1))
    assert np.array_equal(crops.boxes(40, 30), again.boxes(40, 30))
    assert not np.array_equal(crops.boxes(40, 30), RandomCrops.draw(9, seeded(2)).boxes(40, 30))
    assert np.array_equal(crops.part(slice(4, 7)).boxes(40, 30), crops.boxes(40, 30)[4:7])
    assert np.array_equal(crops.part(np.array([8, 0])).flip, crops.flip[[8, 0]])


@pytest.mark.parametrize("cut", [crop_and_resize, resize_together])
@pytest.mark.parametrize("size", [(24, 24), (17, 40), (90, 100)])
def test_cutting_out_equals_torchvision_s_resized_crop(cut: type(crop_and_resize), size: tuple[int, int]) -> None:
    images = noise(20, 60, 80)
    boxes = torch.from_numpy(RandomCrops.draw(20, seeded()).boxes(80, 60))
    given = cut(images, boxes, *size)
    for image, new, (left, top, right, bottom) in zip(images, given, boxes.tolist(), strict=True):
        expected = F.resized_crop(image.permute(2, 0, 1), top, left, bottom - top, right - left, list(size))
        assert (new.permute(2, 0, 1).int() - expected.int()).abs().max() <= 1  # rounding in 16 bits and in floats


def test_only_those_that_are_to_be_are_mirrored() -> None:
    images = noise(5, 3, 4)
    flip = torch.tensor([True, False, False, True, False])
    mirrored = mirror(images.clone(), flip)
    assert torch.equal(mirrored[flip], images[flip].flip(2))
    assert torch.equal(mirrored[~flip], images[~flip])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number, image in enumerate(noise(4, 24, 24).numpy()):
            Image.fromarray(image).save(tmp_path / "train" / name / f"{number}.png")
    return tmp_path


def loaded(path: Path, memory_bytes: int) -> LabelledImages:
    return load_images(open_class_folders(path, "train"), RECIPE, memory_bytes=memory_bytes)


def test_crops_of_files_and_of_kept_pixels_are_the_same(pictures: Path) -> None:
    kept = loaded(pictures, 1 << 20)
    files = loaded(pictures, 0)
    assert files.pixels is None
    order = np.array([7, 0, 3, 3, 5])
    crops = RandomCrops.draw(5, seeded())
    one = kept.fetch(order, crops)
    other = files.fetch(order, crops)
    assert one.shape == (5, 24, 24, 3)
    assert np.abs(one.astype(int) - other).max() <= 1
    assert not np.array_equal(one, kept.fetch(order))
    assert not np.array_equal(one[2], one[3])  # the same picture, two crops


def test_a_broken_file_is_named_when_its_crop_is_asked_for(pictures: Path) -> None:
    files = loaded(pictures, 0)
    (pictures / "train" / "b" / "1.png").write_bytes(io.BytesIO(b"\x89PNG broken").getvalue())
    with pytest.raises(DataError, match=r"train/b/1\.png: .*damaged"):
        files.fetch(np.array([5]), RandomCrops.draw(1, seeded()))
