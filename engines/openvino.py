"""The engine that runs networks in OpenVINO, which computes in bfloat16 on CPUs; ONNX Runtime does not."""

import threading
from queue import LifoQueue
from typing import Any

import numpy as np
from typing_extensions import override

from engines.base import DeviceError, Engine, EngineError, Float, Pixels
from models.bundle import Bundle

try:
    import openvino
except ModuleNotFoundError as missing:
    if missing.name != "openvino":
        raise
    openvino = None  # the group `openvino` is not installed; creating an engine raises an error

__all__ = ["OpenVinoEngine", "has_bfloat16"]

# Only one thread may be in OpenVINO's first run. The binding initialises itself there and releases the interpreter lock
# meanwhile. A second thread that enters then holds that lock and waits for the first one: a deadlock (with 2026.4.1).
_first_run = threading.Lock()
TYPES = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEngine(Engine):
    """A bundle's graph in OpenVINO, on the CPU.

    It can compute in bfloat16, which takes about half the time on a CPU with bfloat16 instructions and changes the
    third digit of a logit (benchmarks/RESULTS.md shows the effect on accuracy).

    As with ONNX Runtime, the graph is compiled twice. Under load the narrow one computes several batches at a time,
    with one thread each. A batch that is alone uses the wide one, all of whose threads compute that batch. The threads
    belong to OpenVINO.

    Args:
        bundle: from `models.bundle.load_bundle`, which has checked the graph's inputs and outputs.
        precision: `bfloat16` or `float32`.
        streams: how many batches are computed at a time.
        threads: how many cores a batch that is alone may use; with 1 the graph is compiled only once.

    Raises:
        EngineError: the graph cannot be loaded or run.
        DeviceError: OpenVINO is not installed, or this CPU lacks the precision; no other precision is used instead.

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
            name = f"bundle {bundle.manifest.name}/{bundle.manifest.version}"
            raise EngineError(f"{name}: OpenVINO cannot run model.onnx: {error}") from error
        self._description = f"OpenVINO {openvino.__version__.partition('-')[0]}, CPU, {precision}"

    @property
    @override
    def description(self) -> str:
        return self._description

    @property
    @override
    def runtime(self) -> str:
        return "openvino"

    @override
    def run(self, images: Pixels, *, alone: bool = False) -> tuple[Float, Float]:
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
            f"{precision} needs OpenVINO, which is not installed: run `uv sync --group openvino`, or leave --precision "
            "at float32"
        )
    core = openvino.Core()
    if precision == "bfloat16" and not _has_instructions(core):
        raise DeviceError(
            "this CPU has no instructions for bfloat16 (AVX512_BF16 or AMX) and would be slower with it; "
            "leave --precision at float32"
        )
    return core


def has_bfloat16() -> bool:
    """Return whether OpenVINO is installed and this CPU has instructions for bfloat16."""
    return openvino is not None and _has_instructions(openvino.Core())


def _has_instructions(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _requests(core: Any, graph: Any, precision: str, *, streams: int, threads: int) -> "LifoQueue[Any]":
    """Compile the graph and return its infer requests, each of which computes one batch at a time.

    There is one more request than there are streams, so the next batch waits in OpenVINO's own queue, where a free
    stream finds it at once.
    """
    options = {
        "INFERENCE_PRECISION_HINT": TYPES[precision],
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # other threads need the cores, too
    }
    compiled = core.compile_model(graph, "CPU", options)
    actual = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if actual != TYPES[precision]:
        raise DeviceError(f"asked for {precision}, OpenVINO came up with {actual}")
    idle: LifoQueue[Any] = LifoQueue()
    for _ in range(streams + 1):
        idle.put(compiled.create_infer_request())
    return idle
