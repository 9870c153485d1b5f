"""Chunks are the same whether pixels stay in memory or are decoded from files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from training.data import labelled_images as images_module
from training.data.augmentation.random_crops import RandomCrops
from training.data.class_folders import open_class_folders
from training.data.device_images import DeviceImages
from training.data.labelled_images import LabelledImages, load_images
from training.errors import DataError
from training.recipe.recipe import Recipe

CPU = torch.device("cpu")
ORDER = np.random.default_rng(0).permutation(72)[:50]


def loaded(folder: Path, recipe: Recipe, memory_bytes: int) -> LabelledImages:
    return load_images(open_class_folders(folder, "train"), recipe.image_recipe, memory_bytes=memory_bytes)


@pytest.mark.parametrize("crops", [None, RandomCrops.draw(50, torch.Generator().manual_seed(1))])
def test_chunks_follow_the_order_from_memory_and_from_files_alike(
    folder: Path, recipe: Recipe, crops: RandomCrops | None
) -> None:
    kept, files = (DeviceImages(loaded(folder, recipe, memory), CPU) for memory in (1 << 20, 0))
    assert kept.resident is not None
    assert files.resident is None
    for source in (kept, files):
        chunks = list(source.chunks(ORDER, 16, crops))
        assert [len(labels) for _, labels in chunks] == [16, 16, 16, 2]
        assert np.array_equal(torch.cat([labels for _, labels in chunks]), source.data.labels[ORDER])
        pixels = torch.cat([pixels for pixels, _ in chunks])
        assert pixels.dtype == torch.uint8
        assert (pixels.int() - torch.from_numpy(source.data.fetch(ORDER, crops)).int()).abs().max() <= 1


def test_on_the_cpu_pixels_in_memory_are_not_copied(folder: Path, recipe: Recipe) -> None:
    data = loaded(folder, recipe, 1 << 20)
    resident = DeviceImages(data, CPU).resident
    assert resident is not None
    assert data.pixels is not None
    assert resident.data_ptr() == data.pixels.ctypes.data


def test_files_are_decoded_at_most_one_chunk_ahead(
    folder: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    decode = images_module.decode_image
    monkeypatch.setattr(images_module, "decode_image", lambda *given: decoded.append(0) or decode(*given))
    chunks = DeviceImages(loaded(folder, recipe, 0), CPU).chunks(ORDER, 10)
    next(chunks)
    chunks.close()  # waits for the chunk being decoded
    assert len(decoded) in (10, 20)


def test_a_broken_file_is_reported_with_its_chunk(folder: Path, recipe: Recipe) -> None:
    data = loaded(folder, recipe, 0)
    read = data.files.read
    broken = data.files.names[ORDER[25]]
    object.__setattr__(data.files, "read", lambda name: b"" if name == broken else read(name))
    chunks = DeviceImages(data, CPU).chunks(ORDER, 10)
    assert [len(next(chunks)[1]) for _ in range(2)] == [10, 10]
    with pytest.raises(DataError, match=broken):
        next(chunks)
