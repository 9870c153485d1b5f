"""ONNX Runtime: the only place that imports it."""

import contextlib
import os
from importlib import metadata

from engines.base import DeviceError, EngineError, Float, Pixels
from models.bundle import Bundle

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at the import; else it tells its makers what it is used for
import onnxruntime as ort

__all__ = ["OnnxEngine", "check_packages"]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
OUTPUTS = ["logits", "head_cosine"]


class OnnxEngine:
    """A bundle's graph in ONNX Runtime.

    On the CPU there are two sessions. Under load the service calls the narrow one, which uses one thread a call, from
    several threads: two callers with one thread each beat one caller with two, as no thread waits for another
    (benchmarks/RESULTS.md). A batch that is alone takes the wide one, which shares the work out among several cores.

    Args:
        bundle: as of `models.bundle.load_bundle`, so its graph keeps the contract.
        device: `cpu` or `cuda`.
        threads: how many cores a batch that is alone may take; with 1 there is only the narrow session.

    Raises:
        EngineError: the graph cannot be loaded.
        DeviceError: the device is not to be had; it is never changed silently.

    """

    def __init__(self, bundle: Bundle, device: str = "cpu", threads: int = 1) -> None:
        check_packages()
        if device == "cuda":
            _require_cuda()
        self._narrow = _session(bundle, device, threads=1)
        self._wide = self._narrow if device == "cuda" or threads == 1 else _session(bundle, device, threads)
        self._where = f"ONNX Runtime {ort.__version__}, {PROVIDERS[device]}"

    @property
    def description(self) -> str:
        """Version and execution provider."""
        return self._where

    @property
    def runtime(self) -> str:
        """Its name."""
        return "onnxruntime"

    def run(self, images: Pixels, *, alone: bool = False) -> tuple[Float, Float]:
        """(B, H, W, 3) uint8 -> (B, C) logits, (B, K) head cosine."""
        session = self._wide if alone else self._narrow
        logits, head_cosine = session.run(OUTPUTS, {"images": images})
        return logits, head_cosine


def _session(bundle: Bundle, device: str, threads: int) -> ort.InferenceSession:
    provider = PROVIDERS[device]
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if threads > 1:  # its threads wait for each other by spinning, which is fast, but not for the next batch as well
        options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3  # errors; what is only a warning there is checked below
    who = f"bundle {bundle.manifest.name}/{bundle.manifest.version}"
    try:
        session = ort.InferenceSession(str(bundle.model_path), options, providers=[provider])
    except Exception as error:
        raise EngineError(f"{who}: ONNX Runtime cannot load model.onnx: {error}") from error
    session.disable_fallback()
    came_up = session.get_providers()[0]
    if came_up != provider:
        raise DeviceError(
            f"asked for {device.upper()}, onnxruntime came up on {came_up} (see README, GPU); "
            "set LONGTAIL_DEVICE=cpu if that is what you want"
        )
    return session


def check_packages() -> None:
    """Refuse an environment with both ONNX Runtime packages: they install into one folder and overwrite each other.

    Raises:
        DeviceError: both are installed.

    """
    installed = []
    for package in ("onnxruntime", "onnxruntime-gpu"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed.append(f"{package} {metadata.version(package)}")
    if len(installed) > 1:
        raise DeviceError(
            f"both {' and '.join(installed)} are installed and overwrite each other; keep one: "
            "`uv sync` for the CPU, `uv sync --no-default-groups --group gpu` for CUDA"
        )


def _require_cuda() -> None:
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # CUDA and cuDNN from the wheels, where the system has none
    if PROVIDERS["cuda"] not in ort.get_available_providers():
        raise DeviceError(
            "asked for CUDA, but this onnxruntime is built without it (see README, GPU): "
            "`uv sync --no-default-groups --group gpu`, then `uv run --no-sync python -m service --device cuda`; "
            "set LONGTAIL_DEVICE=cpu if the CPU is what you want"
        )
