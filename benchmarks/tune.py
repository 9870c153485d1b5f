"""Compare time, memory and accuracy of choosing alpha with those of an ordinary grid search, on one core.

The data are synthetic long-tailed logits and cosines, seeded. Each size runs in its own process, so that its peak
memory is measured alone. Rounds of tuning and grid search take turns, so that a change of the machine's speed affects
both. Times are processor seconds of one thread; wall-clock seconds beside them include other work on the machine.
"""

import argparse
import json
import multiprocessing
import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from machine import status_kb  # noqa: E402

from models import tde  # noqa: E402
from models.accuracy import LabelledIntervals  # noqa: E402
from models.metrics import per_class_recall  # noqa: E402
from models.objective import ALPHA_RANGE, Constraint, Objective  # noqa: E402
from models.optimum import confidence_interval, optimum  # noqa: E402
from models.scores import Scores  # noqa: E402
from models.tuning import cross_fitted, curve_points, tune  # noqa: E402

MAIN_SIZE = (50_000, 1_000)
SIZES = ((1_000, 10), (10_000, 100), MAIN_SIZE, (50_000, 8_142))
GRID = np.linspace(*ALPHA_RANGE, 101)
IN_CACHE = 1 << 16  # logits of a slice that fits into a core's cache
MAX_FOR_GRID = 100_000_000  # N x C; beyond it a grid search takes minutes a round
MAX_SECONDS = 2.0
MAX_MB = 1000.0
OTHERS = (
    ("harmonic", ()),
    ("worst_class", ()),
    ("few", ("overall >= 0.65", "many >= 0.6")),
    ("balanced", ("worst_class >= 0.3", "harmonic >= 0.6")),
)


@dataclass(frozen=True)
class Data:
    """The network output for a test set, with labels and the bundle's constants."""

    logits: np.ndarray
    cosine: np.ndarray
    effect: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    groups: tuple[str, ...]

    def scores(self) -> Scores:
        """Return the images as lines along alpha."""
        return Scores(self.logits, self.effect, self.labels, self.groups, head_cosine=self.cosine)


def synthetic(images: int, classes: int, seed: int = 0) -> Data:
    """Return a balanced test set whose logits favour frequent classes, each image according to its own cosines."""
    rng = np.random.default_rng(seed)
    counts = np.maximum(1, 1280 * 256.0 ** -np.linspace(0, 1, classes)).astype(np.int64)  # 1280 down to 5
    lean = (np.log(counts) - np.log(counts).mean()).astype(np.float32)
    effect = np.stack([0.7 * lean, 0.3 * lean + 0.3 * rng.standard_normal(classes, dtype=np.float32)])
    cosine = rng.uniform(0.2, 0.9, (images, 2)).astype(np.float32)
    labels = np.arange(images) % classes
    logits = rng.standard_normal((images, classes), dtype=np.float32)
    for start in range(0, images, 1000):  # in slices, so that making the data does not set the peak memory
        rows = slice(start, start + 1000)
        logits[rows] += 1.3 * tde.head_effect(cosine[rows], effect)
    logits[np.arange(images), labels] += np.float32(0.9 + 0.45 * np.log(classes))
    groups = tuple(np.select([counts > 100, counts >= 20], ["many", "medium"], "few").tolist())
    return Data(logits, cosine, effect, labels, counts, groups)


def grid_search(data: Data, step: int) -> tuple[float, float, list[float]]:
    """Return the grid's best alpha, its balanced accuracy, and the balanced accuracy at every alpha.

    For each alpha it computes an argmax over `step` images at a time; the usual code does all images at once.
    """
    classes = len(data.groups)
    hits = np.zeros((len(GRID), len(data.groups)))
    for start in range(0, len(data.labels), step):
        rows = slice(start, start + step)
        logits = data.logits[rows]
        slope = tde.head_effect(data.cosine[rows], data.effect)
        images = np.bincount(data.labels[rows], minlength=classes)
        for index, alpha in enumerate(GRID):
            predicted = (logits - np.float32(alpha) * slope).argmax(axis=1)
            hits[index] += np.nan_to_num(per_class_recall(predicted, data.labels[rows], classes)) * images
    balanced = (hits / np.bincount(data.labels, minlength=classes)).mean(axis=1)
    return float(GRID[balanced.argmax()]), float(balanced.max()), balanced.tolist()


def peak_mb() -> float:
    """Return the largest resident memory since the last `forget_peak` in 10^6 bytes."""
    return status_kb("self", "VmHWM") * 1024 / 1e6


def forget_peak() -> float:
    """Reset the peak; return the resident memory in 10^6 bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mb()


def tune_data(data: Data, goal: Objective) -> dict[str, Any]:
    """Choose alpha for an objective, as the service does."""
    return tune(data.scores(), data.counts, goal)


def timed(function: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Call a function; return wall-clock and processor seconds, memory growth and peak, and its result."""
    before = forget_peak()
    wall = time.perf_counter()
    processor = time.process_time()
    result = function()
    seconds = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
    return {**seconds, "growth_mb": peak_mb() - before, "peak_mb": peak_mb()}, result


def parts(data: Data) -> dict[str, dict[str, float]]:
    """Measure each part of tuning alone."""
    figures: dict[str, dict[str, float]] = {}

    def part(name: str, function: Callable[[], Any]) -> Any:
        figures[name], result = timed(function)
        return result

    goal = Objective()
    scores = data.scores()
    images: LabelledIntervals = part("intervals along alpha", scores.labelled_intervals)
    part("optimum", lambda: optimum(images, goal))
    part("bootstrap, 200 resamples", lambda: confidence_interval(images, goal))
    part("cross-fitting", lambda: cross_fitted(images, goal))
    part("curves of every figure", lambda: curve_points(images, low=-2.0, high=5.0))
    part("predictions at one alpha", lambda: scores.top_1(1.0))
    adjusted = scores.logit_adjustment(data.counts)
    part("intervals along the strength of logit adjustment", adjusted.labelled_intervals)
    return figures


def measure(images: int, classes: int, rounds: int) -> dict[str, Any]:
    """Measure one size; runs in its own process."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    data = synthetic(images, classes)
    inputs_mb = forget_peak()
    result: dict[str, Any] = {"size": [images, classes], "inputs_mb": inputs_mb, "rounds": [], "objectives": []}
    searches = {"grid, whole arrays": images, "grid, in cache": max(1, IN_CACHE // classes)}
    for _ in range(rounds):
        measured: dict[str, Any] = {}
        measured["tune"], report = timed(partial(tune_data, data, Objective()))
        for name, step in searches.items() if images * classes <= MAX_FOR_GRID else ():
            measured[name], result["grid"] = timed(partial(grid_search, data, step))
        measured["parts"] = parts(data)
        result["rounds"].append(measured)
    result["max_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    result["exact"] = {name: report[name] for name in ("alpha", "value", "interval", "confidence_interval")}
    if "grid" in result:
        curve = data.scores().labelled_intervals().curve("balanced")
        result["disagreement"] = float(np.abs(curve.at(GRID) - result["grid"][2]).max())
    for figure, constraints in OTHERS if (images, classes) == MAIN_SIZE else ():
        goal = Objective(figure, tuple(map(Constraint.parse, constraints)))
        cost, report = timed(partial(tune_data, data, goal))
        result["objectives"].append({"objective": str(goal), "alpha": report["alpha"], **cost})
    return result


def machine() -> str:
    """Return the processor, the number of cores, and versions."""
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) or [platform.processor()]
    cores = f"{os.cpu_count()} cores of which one is used"
    return f"{names[0]}, {cores}; Python {platform.python_version()}, numpy {np.__version__}"


def line(name: str, costs: list[dict[str, float]]) -> str:
    """Return one line: median and range of processor seconds, median wall-clock seconds, and memory growth."""
    seconds = sorted(cost["processor_seconds"] for cost in costs)
    clock = statistics.median(cost["seconds"] for cost in costs)
    growth = max(cost["growth_mb"] for cost in costs)
    spread = f"({seconds[0]:.3f} to {seconds[-1]:.3f}; wall clock {clock:.3f})"
    return f"  {name:<50} {statistics.median(seconds):7.3f} s  {spread}  +{growth:.0f} MB"


def report(result: dict[str, Any]) -> None:
    """Print the results of one size."""
    (images, classes) = result["size"]
    rounds = result["rounds"]
    print(f"{images:,} images x {classes:,} classes; {result['inputs_mb']:.0f} MB resident with the inputs")
    print(line("tune", [each["tune"] for each in rounds]))
    for name in rounds[0]["parts"]:
        print(line(f"  {name}", [each["parts"][name] for each in rounds]))
    for name in (name for name in rounds[0] if name.startswith("grid")):
        print(line(f"{name}, {len(GRID)} alphas, nothing else", [each[name] for each in rounds]))
        ratio = statistics.median(
            each["tune"]["processor_seconds"] / each[name]["processor_seconds"] for each in rounds
        )
        print(f"    tune takes {ratio:.2f} of that")
    exact = result["exact"]
    ends, sure = ([f"{end:.5f}" for end in exact[name]] for name in ("interval", "confidence_interval"))
    print(
        f"  exact optimum {exact['value']:.6f} at alpha {exact['alpha']:.5f}, anywhere in {' to '.join(ends)}", end=""
    )
    print(f"; 95 % interval {' to '.join(sure)}")
    if "grid" in result:
        alpha, value, _ = result["grid"]
        print(f"  best of the grid {value:.6f} at {alpha:.2f}: {exact['value'] - value:.6f} below the optimum", end="")
        print(f"; grid and curve differ by at most {result['disagreement']:.1e}")
    for other in result["objectives"]:
        print(line(f"tune for {other['objective']}", [other]), f" alpha {other['alpha']:.4f}")
    if tuple(result["size"]) == MAIN_SIZE:
        seconds = max(each["tune"]["processor_seconds"] for each in rounds)
        peak = max(each["tune"]["peak_mb"] for each in rounds)
        verdict = "met" if seconds < MAX_SECONDS and peak < MAX_MB else "MISSED"
        print(f"  bar, {MAX_SECONDS:g} s of one core and {MAX_MB:g} MB, inputs and interpreter included: ", end="")
        print(f"{verdict}; slowest round {seconds:.2f} s, peak {peak:.0f} MB")


def main() -> None:
    """Measure every size and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, metavar=("IMAGES", "CLASSES"), help="measure only this size")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--json", type=Path, help="write all rounds to this file")
    options = parser.parse_args()
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"  # inherited by the processes started below
    print(machine(), flush=True)
    results = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for size in [tuple(options.size)] if options.size else SIZES:
            results.append(pool.apply(measure, (*size, options.rounds)))
            report(results[-1])
            sys.stdout.flush()
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
