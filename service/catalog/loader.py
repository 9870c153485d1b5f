"""From a bundle's folder to a model that can be put in service: read and verified, an engine, warmed up."""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from engines.base import Engine, EngineFactory
from models.bundle import Bundle, load_bundle
from models.errors import BundlePathError
from service.cores import CORES
from service.inference.registry import ServedModel
from service.inference.warm_up import warm_up
from service.settings import Settings

__all__ = ["computes_in_caller", "load_model", "loader"]

WIDE_THREADS = 4  # more do not help one picture
log = logging.getLogger("longtail.catalog")


def loader(settings: Settings, engine: EngineFactory | None = None) -> Callable[[Path], ServedModel]:
    """Return what loads a bundle's folder as the settings say.

    Args:
        settings: device, precision, cores, the largest batch.
        engine: bundle -> engine; if not given, the one that computes there in that precision.

    """
    clock = time.thread_time if engine is None and computes_in_caller(settings) else time.perf_counter
    make = engine or partial(_make_engine, settings)
    return lambda folder: load_model(folder, make, settings.max_batch_images, clock)


def computes_in_caller(settings: Settings) -> bool:
    """Say whether a batch is computed by the thread that asks: its own time is then the batch's, whatever else runs."""
    return settings.device == "cpu" and settings.precision == "float32"


def _make_engine(settings: Settings, bundle: Bundle) -> Engine:
    """Return the engine the settings ask for; the other one is not even imported."""
    wide = min(CORES, WIDE_THREADS)
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
    """Load the bundle in `folder` = .../NAME/VERSION, and run it to see that it works and how batches pay.

    Args:
        folder: the bundle's.
        make_engine: bundle -> engine.
        max_batch_images: no larger batch will be asked for.
        clock: seconds, by which batches are timed.

    Raises:
        models.errors.BundleError: it cannot be vouched for, or is another model than its folder is called.
        engines.base.EngineError: it does not run.

    """
    started = time.perf_counter()
    bundle = load_bundle(folder)
    manifest = bundle.manifest
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise BundlePathError(
            f"bundle {folder.parent.name}/{folder.name}: a link leads to {manifest.name}/{manifest.version}; link to a "
            "folder of the same name and version"
        )
    engine = make_engine(bundle)
    policy = warm_up(bundle, engine, max_batch_images, clock)
    log.info(
        "model %s version %d is loaded in %.2f s: %s, at most %d images at once%s",
        manifest.name,
        manifest.version,
        time.perf_counter() - started,
        engine.description,
        policy.max_images,
        ", fast" if policy.fast else "",
    )
    return ServedModel(bundle, engine, policy)
