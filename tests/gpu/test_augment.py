"""Augmentation on a GPU gives the same images as on a CPU and never waits for the device. Skipped without a GPU.

uv sync --group train --group dev && uv run pytest tests/gpu/test_augment.py
"""

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the group train")
if not torch.cuda.is_available():
    pytest.skip("torch sees no CUDA device (docs/how-to/gpu.md)", allow_module_level=True)

from models.manifest import ImageRecipe  # noqa: E402
from training.data.augmentation.augment import (  # noqa: E402
    auto_augment,
    color_jitter,
    crop_and_flip,
    cutout,
    mixup,
    rand_augment,
)
from training.data.augmentation.random_crops import RandomCrops, crop_and_resize  # noqa: E402
from training.data.device_images import DeviceImages  # noqa: E402
from training.data.labelled_files import LabelledFiles  # noqa: E402
from training.data.labelled_images import LabelledImages  # noqa: E402

pytestmark = pytest.mark.gpu
Images = torch.Tensor
IMAGES = torch.randint(0, 256, (256, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
WAYS: dict[str, Callable[[Images, torch.Generator], Images]] = {
    "crop and flip": lambda images, generator: crop_and_flip(images, 4, generator),
    "auto_augment": lambda images, generator: auto_augment(images.permute(0, 3, 1, 2), generator),
    "rand_augment": lambda images, generator: rand_augment(images.permute(0, 3, 1, 2), generator),
    "color_jitter": lambda images, generator: color_jitter(images.permute(0, 3, 1, 2), generator),
    "cutout": lambda images, generator: cutout(images.permute(0, 3, 1, 2).float(), 8, generator),
    "mixup": lambda images, generator: mixup(images.float(), torch.arange(len(images)), 0.4, generator)[0],
}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("way", WAYS)
def test_a_seed_gives_the_same_images_on_both_devices(way: str) -> None:
    there = WAYS[way](IMAGES.cuda(), seeded())
    here = WAYS[way](IMAGES, seeded())
    assert there.is_cuda
    different = (there.cpu().float() - here.float()).abs() > 1
    assert different.float().mean() < 1e-3  # a value that is off by one may pass a second operation


@pytest.mark.parametrize("way", [way for way in WAYS if way != "mixup"])  # its labels come from the caller
def test_augmentation_never_waits_for_the_device(way: str) -> None:
    images = IMAGES.cuda()
    WAYS[way](images, seeded())  # fills caches such as the maps of geometric operations
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        WAYS[way](images, seeded())
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_crops_are_the_same_on_both_devices() -> None:
    boxes = torch.from_numpy(RandomCrops.draw(256, seeded()).boxes(32, 32))
    there = crop_and_resize(IMAGES.cuda(), boxes, 24, 24)
    here = crop_and_resize(IMAGES, boxes, 24, 24)
    assert (there.cpu().int() - here.int()).abs().max() <= 1


def test_a_data_set_on_the_gpu_yields_its_chunks_there() -> None:
    labels = torch.arange(256).numpy() % 2
    files = LabelledFiles("none", ("a", "b"), ("",) * 256, labels, lambda name: Path(name).read_bytes())
    recipe = ImageRecipe(height=32, width=32, resize=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    source = DeviceImages(LabelledImages(files, recipe, IMAGES.numpy()), torch.device("cuda"))
    order = torch.randperm(256, generator=seeded()).numpy()
    for start, (pixels, chunk_labels) in zip(range(0, 256, 100), source.chunks(order, 100), strict=True):
        assert pixels.is_cuda
        assert torch.equal(pixels.cpu(), IMAGES[order[start : start + 100]])
        assert chunk_labels.cpu().tolist() == labels[order[start : start + 100]].tolist()
