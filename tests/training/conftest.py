"""A data set that trains in a second: three classes of one colour each, as a folder and as a zip."""

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import training.model.classifier
from training.recipe.recipe import Recipe

torch.set_num_threads(1)
COLOURS = {"blue": (20, 20, 220), "green": (20, 200, 20), "red": (220, 20, 20)}
COUNTS = {"train": 24, "test": 6}


def image(colour: tuple[int, int, int], seed: int) -> bytes:
    """Return a WebP picture of 8×8 noisy pixels of one colour."""
    noise = np.random.default_rng(seed).integers(-20, 20, (8, 8, 3))
    file = io.BytesIO()
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(file, "WEBP", lossless=True)
    return file.getvalue()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set as a folder: SPLIT/CLASS/RANK.webp."""
    root = tmp_path_factory.mktemp("data")
    for split, count in COUNTS.items():
        for name, colour in COLOURS.items():
            (root / split / name).mkdir(parents=True)
            for rank in range(count):
                (root / split / name / f"{rank:05}.webp").write_bytes(
                    image(colour, zlib.crc32(f"{split}/{name}/{rank}".encode()))
                )
    return root


@pytest.fixture(scope="session")
def archive(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set as a zip."""
    path = tmp_path_factory.mktemp("zip") / "data.zip"
    with zipfile.ZipFile(path, "w") as target:
        for file in sorted(folder.rglob("*.webp")):
            target.write(file, file.relative_to(folder))
    return path


class TinyBackbone(torch.nn.Module):
    """A convolution and a mean: 8 non-negative features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = torch.nn.BatchNorm2d(8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn(self.conv(images))).mean(dim=(2, 3))


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe that trains in a moment, with `TinyBackbone` as its network."""
    monkeypatch.setattr(training.model.classifier, "build_backbone", lambda *_: (TinyBackbone(), 8))
    return Recipe(
        name="tiny", height=8, width=8, resize=8, imbalance_ratio=4.0, epochs=3, batch_size=8, learning_rate=0.1,
        warmup_epochs=1, schedule="cosine", crop_padding=1, cutout=2, auto_augment=True, evaluate_every=2,
    )  # fmt: skip
