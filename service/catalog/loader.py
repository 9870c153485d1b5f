"""Loads a bundle's folder as a model for service: reads and checks it, makes the engine, and warms it up."""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from engines.base import Engine, EngineFactory
from models.bundle import Bundle, load_bundle
from models.cores import CORES
from service.inference.registry import ServedModel
from service.inference.warm_up import warm_up
from service.settings import Settings

__all__ = ["computes_in_caller", "load_model", "loader"]

MAX_WIDE_THREADS = 4  # more threads do not speed up one picture
log = logging.getLogger("longtail.catalog")


def loader(settings: Settings, engine: EngineFactory | None = None) -> Callable[[Path], ServedModel]:
    """Return the function that loads a bundle's folder.

    Args:
        settings: the device, the precision, the threads and the largest batch.
        engine: bundle -> engine; by default the engine for the device and precision.

    """
    clock = time.thread_time if engine is None and computes_in_caller(settings) else time.perf_counter
    make = engine or partial(_make_engine, settings)
    return lambda folder: load_model(folder, make, settings.max_batch_images, clock)


def computes_in_caller(settings: Settings) -> bool:
    """Return whether the calling thread computes a batch, so that its own processor time is the batch's."""
    return settings.device == "cpu" and settings.precision == "float32"


def _make_engine(settings: Settings, bundle: Bundle) -> Engine:
    """Return the engine for the settings, without importing the other one."""
    wide = min(CORES, MAX_WIDE_THREADS)
    if settings.precision == "float32":
        from engines.onnx import OnnxEngine  # noqa: PLC0415

        return OnnxEngine(bundle, settings.device, wide)
    from engines.openvino import OpenVinoEngine  # noqa: PLC0415

    return OpenVinoEngine(bundle, settings.precision, streams=min(CORES, settings.inference_threads), threads=wide)


def load_model(
    folder: Path,
    make_engine: EngineFactory,
    max_batch_images: int,
    clock: Callable[[], float] = time.perf_counter,
) -> ServedModel:
    """Load the bundle in `folder`, .../NAME/VERSION, and run it to check that it works and to time batches.

    Args:
        folder: the bundle's folder.
        make_engine: bundle -> engine.
        max_batch_images: the size of the largest batch.
        clock: returns the seconds by which batches are timed.

    Raises:
        models.errors.BundleError: the bundle is invalid, or its name or version differs from its folder's.
        engines.base.EngineError: the network does not run.

    """
    started = time.perf_counter()
    bundle = load_bundle(folder)
    manifest = bundle.manifest
    engine = make_engine(bundle)
    policy = warm_up(bundle, engine, max_batch_images, clock)
    log.info(
        "model %s version %d is loaded in %.2f s: %s, up to %d images in a batch%s",
        manifest.name,
        manifest.version,
        time.perf_counter() - started,
        engine.description,
        policy.max_images,
        ", fast" if policy.fast else "",
    )
    return ServedModel(bundle, engine, policy)
