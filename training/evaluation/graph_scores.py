"""Score labelled images with a bundle's ONNX graph, so that the network that is evaluated is the one that is served."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models import tde
from models.bundle import Bundle
from models.class_names import ClassIndices
from models.cores import CORES
from models.errors import ImageError, ImageTooLargeError, UnsupportedImageError
from models.manifest import ImageRecipe, Manifest
from models.preprocess import decode_image
from models.scores import Scores
from training.data.data_set import TestPart, check_test_part, open_test
from training.data.labelled_files import LabelledFiles
from training.data.labelled_images import MAX_PIXEL_BYTES, READ_ERRORS, LabelledImages, load_images
from training.data.options import MAX_UNREADABLE_SHARE, DataOptions
from training.errors import DataError
from training.progress import images_progress

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read on import; without it, ONNX Runtime sends usage data
import onnxruntime as ort

__all__ = ["check_same_exempt", "load_test_images", "open_graph", "run_graph", "score_files"]

Float = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
BATCH = 64


def load_test_images(
    data: DataOptions | Path,
    class_names: tuple[str, ...],
    recipe: ImageRecipe,
    *,
    kept: str | None = None,
    memory_bytes: int = MAX_PIXEL_BYTES,
) -> tuple[LabelledImages, TestPart]:
    """Read the test part of a data set. Labels are numbered as the bundle's classes are; classes may be missing.

    Args:
        data: the data set.
        class_names: the classes of the bundle.
        recipe: how a picture becomes pixels.
        kept: the fingerprint of the part that was kept from training. A test part that is split off must match it.
        memory_bytes: the memory the pixels may take. If they do not fit, they are decoded when they are fetched.

    Raises:
        DataError: the test part has a class that the bundle does not know, is split off but is not the part that was
            kept, or has too many unreadable pictures.

    """
    options = DataOptions.of(data)
    part = open_test(options, class_names)
    check_test_part(options, part, kept)
    images = load_images(
        part.files,
        recipe,
        max_unreadable=options.max_unreadable,
        every_class=False,
        memory_bytes=memory_bytes,
    )
    return images, part


def check_same_exempt(data: DataOptions, manifest: Manifest) -> None:
    """Reject an exempt class other than the bundle's."""
    exempt = None if manifest.exempt_class is None else manifest.classes[manifest.exempt_class].name
    if data.exempt_class is not None and data.exempt_class not in ClassIndices([exempt] if exempt else []):
        raise DataError(
            f"--exempt-class {data.exempt_class!r}: the exempt class of this bundle is {exempt or 'none'!r}"
        )


def run_graph(model: Path | bytes, images: LabelledImages) -> tuple[Float, Float]:
    """Run the ONNX graph over N images; return logits (N, C) and head cosine (N, K)."""
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


def score_files(
    bundle: Bundle, files: LabelledFiles, max_unreadable: float = MAX_UNREADABLE_SHARE
) -> tuple[Scores, list[dict[str, Any]]]:
    """Run the bundle's graph over labelled pictures, with one batch in memory at a time.

    Args:
        bundle: the bundle with the graph.
        files: N pictures.
        max_unreadable: the share of N that may be missing or damaged; unless it is 0, one picture always may.

    Returns:
        The scores of the pictures that could be read, and a list of the others, in the form that the service uses:
        {"name", "error": {"code", "message"}}.

    Raises:
        DataError: more pictures than that cannot be read, or all of them.

    """
    manifest = bundle.manifest
    session = open_graph(bundle.model_path)
    answers: list[tuple[Float, Float]] = []
    readable = np.ones(len(files.names), dtype=bool)
    unreadable: list[dict[str, Any]] = []
    with images_progress() as progress, ThreadPoolExecutor(CORES) as threads:
        task = progress.add_task("scoring", total=len(files.names))
        for start in range(0, len(files.names), BATCH):
            names = files.names[start : start + BATCH]
            decoded = list(threads.map(lambda name: _decode(files, name, manifest.input), names))
            for index, found in enumerate(decoded, start):
                if isinstance(found, dict):
                    unreadable.append(found)
                    readable[index] = False
            _check_unreadable(files, unreadable, max_unreadable)
            if pixels := [found for found in decoded if not isinstance(found, dict)]:
                answers.append(session.run(["logits", "head_cosine"], {"images": np.stack(pixels)}))
            progress.advance(task, len(names))
    logits, cosine = (np.concatenate(arrays) for arrays in zip(*answers, strict=True))
    groups = tuple(info.group for info in manifest.classes)
    slope = tde.head_effect(cosine, bundle.class_effect)
    return Scores(logits, slope, files.labels[readable], groups, manifest.exempt_class), unreadable


def _decode(files: LabelledFiles, name: str, recipe: ImageRecipe) -> Pixels | dict[str, Any]:
    """Return the picture's pixels, or the error that the report lists."""
    try:
        return decode_image(files.read(name), recipe)
    except ImageError as error:
        codes = {UnsupportedImageError: "unsupported_image", ImageTooLargeError: "image_too_large"}
        code = codes.get(type(error), "unreadable_image")
        message = str(error)
    except READ_ERRORS as error:
        code = "unreadable_image"
        message = f"cannot be read: {error}"
    return {"name": name, "error": {"code": code, "message": message}}


def _check_unreadable(files: LabelledFiles, unreadable: list[dict[str, Any]], allowed: float) -> None:
    count = len(unreadable)
    if count > max(1.0 if allowed else 0.0, allowed * len(files)) or (count and count == len(files)):
        first = unreadable[0]
        raise DataError(
            f"{files.source}: more than {100 * allowed:.3g}% of the {len(files.names)} pictures cannot be read, "
            f"such as {first['name']}: {first['error']['message']}"
        )


def open_graph(model: Path | bytes, *, threads: int = CORES) -> ort.InferenceSession:
    """Open a graph on the CPU.

    Args:
        model: the ONNX file, or its content.
        threads: how many threads each call computes in; by default one for each usable core.

    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    source = str(model) if isinstance(model, Path) else model
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
