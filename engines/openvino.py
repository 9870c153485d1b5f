"""OpenVINO, which has what ONNX Runtime lacks on a CPU: bfloat16. The only place in the service that imports it."""

import threading
from queue import LifoQueue
from typing import Any

import numpy as np

from engines.base import DeviceError, EngineError, Float, Pixels
from models.bundle import Bundle

try:
    import openvino
except ModuleNotFoundError as missing:
    if missing.name != "openvino":
        raise
    openvino = None  # the group `openvino` is not installed; who asks for it is told

__all__ = ["OpenVinoEngine", "has_bfloat16"]

# What OpenVINO's binding makes at its first run must be made by one thread alone: it lets go of the interpreter's lock
# meanwhile, and another one that comes then holds that lock and waits for the first, for ever (seen with 2026.4.1).
_first_run = threading.Lock()
TYPES = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEngine:
    """A bundle's graph in OpenVINO, on the CPU.

    It can compute in bfloat16, which takes about half the time on a CPU that has instructions for it, and changes a
    logit in its third digit (benchmarks/RESULTS.md has what that does to accuracy).

    As with ONNX Runtime there are two: under load the narrow one computes several batches at a time, one thread each; a
    batch that is alone takes the wide one, all of whose threads compute that batch. The threads are OpenVINO's.

    Args:
        bundle: as of `models.bundle.load_bundle`, so its graph keeps the contract.
        precision: `bfloat16` or `float32`.
        streams: batches computed at a time.
        threads: how many cores a batch that is alone may take; with 1 there is only the narrow one.

    Raises:
        EngineError: the graph cannot be loaded, or not run.
        DeviceError: OpenVINO is not installed, or this CPU does not have that precision; it is never changed silently.

    """

    def __init__(self, bundle: Bundle, precision: str, *, streams: int = 1, threads: int = 1) -> None:
        core = _core(precision)
        try:
            graph = core.read_model(bundle.model_path)
            self._narrow = _requests(core, graph, precision, streams=streams, threads=streams)
            self._wide = self._narrow
            if threads > 1:
                self._wide = _requests(core, graph, precision, streams=1, threads=threads)
            with _first_run:
                self.run(np.zeros((1, bundle.manifest.input.height, bundle.manifest.input.width, 3), np.uint8))
        except RuntimeError as error:
            who = f"bundle {bundle.manifest.name}/{bundle.manifest.version}"
            raise EngineError(f"{who}: OpenVINO cannot run model.onnx: {error}") from error
        self._what = f"OpenVINO {openvino.__version__.partition('-')[0]}, CPU, {precision}"

    @property
    def description(self) -> str:
        """Version, device and precision."""
        return self._what

    @property
    def runtime(self) -> str:
        """Its name."""
        return "openvino"

    def run(self, images: Pixels, *, alone: bool = False) -> tuple[Float, Float]:
        """(B, H, W, 3) uint8 -> (B, C) logits, (B, K) head cosine."""
        idle = self._wide if alone else self._narrow
        request = idle.get()
        try:
            results = request.infer({"images": images}, share_inputs=True)
            return results["logits"], results["head_cosine"]
        finally:
            idle.put(request)


def _core(precision: str) -> Any:
    if openvino is None:
        raise DeviceError(
            f"{precision} is computed by OpenVINO, which is not installed: `uv sync --group openvino`; or leave "
            "--precision at float32"
        )
    core = openvino.Core()
    if precision == "bfloat16" and not _has_instructions(core):
        raise DeviceError(
            "this CPU has no instructions for bfloat16 (AVX512_BF16 or AMX) and would be slower with it than without; "
            "leave --precision at float32"
        )
    return core


def has_bfloat16() -> bool:
    """Say whether OpenVINO is installed and this CPU has instructions for bfloat16."""
    return openvino is not None and _has_instructions(openvino.Core())


def _has_instructions(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _requests(core: Any, graph: Any, precision: str, *, streams: int, threads: int) -> "LifoQueue[Any]":
    """Compile the graph; return what computes a batch, each for one caller at a time.

    There is one more than can be computed at a time, so that the next batch waits in OpenVINO's line, where a stream
    that has become free finds it at once.
    """
    options = {
        "INFERENCE_PRECISION_HINT": TYPES[precision],
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # other threads need the cores too
    }
    compiled = core.compile_model(graph, "CPU", options)
    came_up = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if came_up != TYPES[precision]:
        raise DeviceError(f"asked for {precision}, OpenVINO came up with {came_up}")
    idle: LifoQueue[Any] = LifoQueue()
    for _ in range(streams + 1):
        idle.put(compiled.create_infer_request())
    return idle
