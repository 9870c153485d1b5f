"""Compare precisions: images/s of the bare network, and accuracy on the test set.

Two callers run batches of 8. Each round times every row; a row's rate is divided by that of ONNX Runtime in float32 in
the same round. Accuracy is the mean per-class recall at alpha = 0 and at the bundle's `balanced`. The table also shows
the largest change of a logit and of the head cosine, and how often the top class agrees, at both values of alpha.

    uv run --group openvino --group train python benchmarks/precision.py cifar10-lt --data cifar10-lt.zip
    uv run --group openvino --group train python benchmarks/precision.py runs/bench-models/mobilenet-v3-large/1
    uv run --group openvino --group train --with nncf python benchmarks/precision.py cifar10-lt --data cifar10-lt.zip

If `nncf` is installed and `--data` is given, the table has rows for int8 weights and activations, calibrated on 512
training images: in OpenVINO, by NNCF, and in ONNX Runtime, by static per-channel quantisation of convolutions and
additions.
"""

import argparse
import importlib.util
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
import openvino
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from machine import commit, invocation, machine  # noqa: E402

from engines.base import DeviceError  # noqa: E402
from engines.onnx import OnnxEngine  # noqa: E402
from engines.openvino import OpenVinoEngine  # noqa: E402
from models import tde  # noqa: E402
from models.bundle import Bundle, load_bundle  # noqa: E402
from models.metrics import per_class_recall  # noqa: E402

CALLERS = 2
BATCH = 8
CALIBRATION_IMAGES = 512
Run = Callable[[NDArray[np.uint8]], tuple[NDArray[Any], NDArray[Any]]]


def float_rows(bundle: Bundle) -> Iterator[tuple[str, Run]]:
    """Yield the service's engines."""
    yield "ONNX Runtime, float32", OnnxEngine(bundle).run
    for precision in ("float32", "bfloat16"):
        try:
            yield f"OpenVINO, {precision}", OpenVinoEngine(bundle, precision, streams=CALLERS).run
        except DeviceError as error:
            print(f"OpenVINO, {precision}: {error}", file=sys.stderr)


def int8_rows(bundle: Bundle, calibration: NDArray[np.uint8], folder: Path) -> Iterator[tuple[str, Run]]:
    """Yield engines that run int8 copies of the bundle's graph."""
    import nncf  # noqa: PLC0415
    from onnxruntime import quantization  # noqa: PLC0415

    batches = [{"images": calibration[at : at + 16]} for at in range(0, len(calibration), 16)]
    core = openvino.Core()
    graph = nncf.quantize(core.read_model(bundle.model_path), nncf.Dataset(batches), subset_size=len(batches))
    threads = {"NUM_STREAMS": CALLERS, "INFERENCE_NUM_THREADS": CALLERS}
    compiled = core.compile_model(
        graph, "CPU", threads | {"INFERENCE_PRECISION_HINT": "f32"}
    )  # for the operations that are not int8
    own = threading.local()

    def run_openvino(images: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        results = own.request.infer({"images": images}, share_inputs=True)
        return results["logits"], results["head_cosine"]

    yield "OpenVINO, int8", run_openvino

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self._left = iter(batches)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(self._left, None)

    quantised = folder / "int8.onnx"
    quantization.quantize_static(
        bundle.model_path,
        quantised,
        Reader(),
        activation_type=quantization.QuantType.QUInt8,  # which x86 multiplies faster than int8
        per_channel=True,
        op_types_to_quantize=["Conv", "Add"],
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(quantised, options, providers=["CPUExecutionProvider"])

    def run_onnx(images: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
        logits, head_cosine = session.run(["logits", "head_cosine"], {"images": images})
        return logits, head_cosine

    yield "ONNX Runtime, int8", run_onnx


def images_per_second(run: Run, images: NDArray[np.uint8], seconds: float) -> float:
    """Return the images/s of CALLERS threads that run one batch after another."""
    until = time.perf_counter() + seconds

    def call(_: int) -> float:
        done = 0
        started = time.perf_counter()
        while time.perf_counter() < until:
            run(images)
            done += len(images)
        return done / (time.perf_counter() - started)

    with ThreadPoolExecutor(CALLERS) as pool:
        return sum(pool.map(call, range(CALLERS)))


def score(run: Run, images: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the (N, C) logits and the (N, K) head cosine of all images."""
    parts = [run(images[at : at + 100]) for at in range(0, len(images), 100)]
    return np.concatenate([logits for logits, _ in parts]), np.concatenate([cosine for _, cosine in parts])


def accuracy_cells(bundle: Bundle, run: Run, reference: Run, images: Any) -> list[str]:
    """Return the cells of the accuracy columns."""
    output = score(run, images.pixels)
    expected = score(reference, images.pixels)
    accuracies = []
    changes = []
    agreements = []
    for alpha in (0.0, bundle.manifest.operating_points["balanced"].alpha):
        logits, wanted = (tde.tde_logits(*scores, bundle.class_effect, alpha) for scores in (output, expected))
        recall = per_class_recall(logits.argmax(axis=1), images.labels, len(bundle.manifest.classes))
        accuracies.append(f"{100 * recall.mean():.2f}")
        changes.append(f"{np.abs(logits - wanted).max():.3f}")
        agreements.append(f"{100 * np.mean(logits.argmax(axis=1) == wanted.argmax(axis=1)):.2f} %")
    return [*accuracies, " / ".join(changes), f"{np.abs(output[1] - expected[1]).max():.4f}", " / ".join(agreements)]


def main() -> None:
    """Time and score every row and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="name of a shipped model, or folder of a bundle")
    parser.add_argument("--data", type=Path, help="folder or zip with train/CLASS/IMAGE and test/CLASS/IMAGE")
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 1000), metavar="N")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each row in each round")
    options = parser.parse_args()
    shipped = ROOT / "models" / "shipped" / options.model / "2"
    bundle = load_bundle(shipped if shipped.is_dir() else Path(options.model))
    recipe = bundle.manifest.input
    if bundle.manifest.exempt_class is not None:
        raise SystemExit(
            "in a model with an exempt class the largest logit is not the prediction; choose another model"
        )
    with tempfile.TemporaryDirectory() as folder:
        rows = list(float_rows(bundle))
        test = None
        if options.data:
            from training.data.class_folders import open_class_folders  # noqa: PLC0415  needs torch
            from training.data.labelled_images import load_images  # noqa: PLC0415
            from training.evaluation.graph_scores import load_test_images  # noqa: PLC0415

            test, _ = load_test_images(options.data, tuple(info.name for info in bundle.manifest.classes), recipe)
            if importlib.util.find_spec("nncf"):
                train = load_images(open_class_folders(options.data, "train"), recipe)
                chosen = np.random.default_rng(0).permutation(len(train.labels))[:CALIBRATION_IMAGES]
                rows += int8_rows(bundle, train.fetch(chosen), Path(folder))
        batch = np.random.default_rng(0).integers(0, 256, (BATCH, recipe.height, recipe.width, 3), dtype=np.uint8)
        rates: dict[str, list[float]] = {what: [] for what, _ in rows}
        for number in range(options.rounds + 1):
            for what, run in rows:
                rate = images_per_second(run, batch, options.seconds)
                if number:  # the first round warms up
                    rates[what].append(rate)
        found = [name for name in ("openvino", "nncf") if importlib.util.find_spec(name)]
        extras = ", ".join(f"{name} {version(name)}" for name in found)
        print(f"```\n$ {invocation()}\ncommit {commit()}\n{machine()}, {extras}\n```\n")
        heads = ["alpha = 0", "balanced", "change of a logit", "of the head cosine", "same top class"] if test else []
        print(f"| | images/s | of ONNX Runtime, float32 | {' | '.join(heads)}{' |' if heads else ''}")
        print(f"|---|{'--:|' * (2 + len(heads))}")
        for what, run in rows:
            ratios = [rate / first for rate, first in zip(rates[what], rates[rows[0][0]], strict=True)]
            cells = [f"{median(rates[what]):.0f}", f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"]
            cells += accuracy_cells(bundle, run, rows[0][1], test) if test else []
            print(f"| {what} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
