"""Pictures labelled with the tiny bundle's own predictions at one alpha, which tuning should therefore find."""

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import tde
from tests.tiny_bundle import SIDE, TinyModel

__all__ = ["TRUE_ALPHA", "pictures", "png", "write_folder", "write_zip"]

TRUE_ALPHA = 1.5


def pictures(count: int = 120, seed: int = 0, model: TinyModel | None = None) -> dict[str, bytes]:
    """Return CLASS/IMAGE.png -> content; the class is the model's prediction at TRUE_ALPHA."""
    model = model or TinyModel()
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (count, 2, 2, 3))
    pixels = np.repeat(np.repeat(colours, SIDE // 2, axis=1), SIDE // 2, axis=2).astype(np.uint8)
    scores = tde.tde_logits(model.logits(pixels), model.head_cosine(pixels), model.class_effect, TRUE_ALPHA)
    return {f"class {label}/{index:04}.png": png(pixels[index]) for index, label in enumerate(scores.argmax(axis=1))}


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return (H, W, 3) pixels as a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    """Write the files below `root`."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    """Write the files into a zip."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path
