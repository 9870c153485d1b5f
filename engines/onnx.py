"""The engine that runs networks in ONNX Runtime."""

import contextlib
import os
from importlib import metadata

from typing_extensions import override

from engines.base import DeviceError, Engine, EngineError, Float, Pixels
from models.bundle import Bundle

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reads it when it is imported
import onnxruntime as ort

__all__ = ["OnnxEngine", "check_packages"]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
OUTPUTS = ["logits", "head_cosine"]


class OnnxEngine(Engine):
    """A bundle's graph in ONNX Runtime.

    On the CPU there are two sessions. Under load the service calls the narrow one from several threads; it uses one
    thread for each call. Two callers with one thread each are faster than one caller with two threads, because no
    thread waits for another (benchmarks/RESULTS.md). A batch that is alone uses the wide session, which divides the
    work among several cores.

    Args:
        bundle: from `models.bundle.load_bundle`, which has checked the graph's inputs and outputs.
        device: `cpu` or `cuda`.
        threads: how many cores a batch that is alone may use; with 1 there is only the narrow session.

    Raises:
        EngineError: the graph cannot be loaded.
        DeviceError: the device is not available; no other device is used instead.

    """

    def __init__(self, bundle: Bundle, device: str = "cpu", threads: int = 1) -> None:
        check_packages()
        if device == "cuda":
            _require_cuda()
        self._narrow = _session(bundle, device, threads=1)
        self._wide = self._narrow if device == "cuda" or threads == 1 else _session(bundle, device, threads)
        self._description = f"ONNX Runtime {ort.__version__}, {PROVIDERS[device]}"

    @property
    @override
    def description(self) -> str:
        return self._description

    @property
    @override
    def runtime(self) -> str:
        return "onnxruntime"

    @override
    def run(self, images: Pixels, *, alone: bool = False) -> tuple[Float, Float]:
        session = self._wide if alone else self._narrow
        logits, head_cosine = session.run(OUTPUTS, {"images": images})
        return logits, head_cosine


def _session(bundle: Bundle, device: str, threads: int) -> ort.InferenceSession:
    provider = PROVIDERS[device]
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if threads > 1:  # the threads spin while they wait for each other, which is fast, but must stop between batches
        options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3  # errors only; the provider, about which it would warn, is checked below
    name = f"bundle {bundle.manifest.name}/{bundle.manifest.version}"
    try:
        session = ort.InferenceSession(str(bundle.model_path), options, providers=[provider])
    except Exception as error:
        raise EngineError(f"{name}: ONNX Runtime cannot load model.onnx: {error}") from error
    session.disable_fallback()
    actual = session.get_providers()[0]
    if actual != provider:
        raise DeviceError(
            f"asked for {device.upper()}, onnxruntime came up on {actual} (see docs/how-to/gpu.md); "
            "set LONGTAIL_DEVICE=cpu if that is what you want"
        )
    return session


def check_packages() -> None:
    """Check that only one ONNX Runtime package is installed; two of them overwrite each other's files.

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
        ort.preload_dlls()  # CUDA and cuDNN from the wheels, if the system has none
    if PROVIDERS["cuda"] not in ort.get_available_providers():
        raise DeviceError(
            "asked for CUDA, but this onnxruntime is built without it (see docs/how-to/gpu.md): "
            "`uv sync --no-default-groups --group gpu`, then `uv run --no-sync python -m service --device cuda`; "
            "set LONGTAIL_DEVICE=cpu if the CPU is what you want"
        )
