"""A bundle's answers on a labelled set, from the ONNX graph itself: what is evaluated is what is served."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from models.manifest import ImageRecipe
from training.data.class_folders import open_class_folders
from training.data.images import LabelledImages, load_images
from training.errors import DataError
from training.progress import images_progress

__all__ = ["load_test_images", "open_graph", "run_graph"]

Float = npt.NDArray[np.float32]
BATCH = 64


def load_test_images(path: Path, class_names: tuple[str, ...], recipe: ImageRecipe) -> LabelledImages:
    """Read the `test` split of a class-folder tree, its labels numbered as the bundle's classes are.

    Raises:
        DataError: the split lacks one of the bundle's classes or has one the bundle does not know.
    """
    folders = open_class_folders(path, "test")
    missing = [name for name in class_names if name not in folders.classes]
    if missing:
        raise DataError(
            f"{folders.source}: the test set has no images of {len(missing)} class(es): {', '.join(missing[:5])}"
        )
    unknown = [name for name in folders.classes if name not in class_names]
    if unknown:
        raise DataError(
            f"{folders.source}: the model does not know {len(unknown)} of these classes: {', '.join(unknown[:5])}"
        )
    by_name = dict(zip(folders.classes, folders.files, strict=True))
    in_order = replace(folders, classes=class_names, files=tuple(by_name[name] for name in class_names))
    return load_images(in_order, recipe)


def run_graph(model: Path | bytes, images: LabelledImages) -> tuple[Float, Float]:
    """Run the ONNX graph over all images; return logits (N, C) and head cosine (N, K)."""
    session = open_graph(model)
    parts: list[tuple[Float, Float]] = []
    with images_progress() as progress:
        task = progress.add_task("scoring", total=len(images))
        for start in range(0, len(images), BATCH):
            pixels = images.fetch(np.arange(start, min(start + BATCH, len(images))))
            parts.append(session.run(["logits", "head_cosine"], {"images": pixels}))
            progress.advance(task, len(pixels))
    logits, cosine = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return logits, cosine


def open_graph(model: Path | bytes) -> ort.InferenceSession:
    """Open a bundle's graph on the CPU."""
    return ort.InferenceSession(str(model) if isinstance(model, Path) else model, providers=["CPUExecutionProvider"])
