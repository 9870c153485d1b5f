"""How fast is the service beside the bare network? Requests/s, p50, p99, start and memory; ratios within one run."""

import argparse
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402

from models.bundle import find_bundles, load_bundle  # noqa: E402
from models.preprocess import decode_image  # noqa: E402

CONCURRENCIES = (1, 8, 64)
BATCH = 8  # the service's default max_batch_images
PACKAGES = ("onnxruntime", "fastapi", "starlette", "uvicorn", "pydantic", "numpy", "pillow")


class Server:
    """`python -m service` as a process, with the time from its start to its first answer."""

    def __init__(self, models: Path, model: str, image: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-m", "service", "--port", str(self.port), "--models", str(models)]
        self.path = f"/v1/models/{model}/classify?alpha=1"
        started = time.perf_counter()
        self.process = subprocess.Popen([*command, "--log-level", "warning"], cwd=ROOT)
        url, body = f"http://127.0.0.1:{self.port}{self.path}", image.read_bytes()
        request = urllib.request.Request(url, body, {"Content-Type": "image/webp"})
        while True:
            try:
                urllib.request.urlopen(request).read()  # noqa: S310  127.0.0.1
                break
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit("the service did not start") from None
                time.sleep(0.01)
        self.seconds_to_first_answer = time.perf_counter() - started

    def resident_mb(self) -> float:
        """Resident memory of the process, 10^6 bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024 / 1e6

    def load(self, image: Path, concurrency: int, seconds: float) -> dict[str, float]:
        """Load it from another process."""
        arguments = [
            "--port",
            self.port,
            "--path",
            self.path,
            "--image",
            image,
            "--concurrency",
            concurrency,
            "--seconds",
            seconds,
        ]
        command = [sys.executable, str(ROOT / "benchmarks" / "load.py"), *map(str, arguments)]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def raw_rate(model: Path, pixels: np.ndarray, callers: int, threads: int, batch: int, seconds: float) -> float:
    """Images/s of ONNX Runtime alone on decoded pixels."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    images = np.repeat(pixels[None], batch, axis=0)
    session.run(None, {"images": images})
    until = time.perf_counter() + seconds

    def call(_: int) -> int:
        done = 0
        while time.perf_counter() < until:
            session.run(None, {"images": images})
            done += batch
        return done

    with ThreadPoolExecutor(callers) as pool:
        started = time.perf_counter()
        return sum(pool.map(call, range(callers))) / (time.perf_counter() - started)


def machine() -> str:
    """Processor, cores, versions."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else [platform.processor()]
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{names[0]}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}"


RAW = {  # name -> callers, threads of each, batch
    "1 caller x 1 thread, batch 1": (1, 1, 1),
    f"2 callers x 1 thread, batch {BATCH}": (2, 1, BATCH),
    f"1 caller x 2 threads, batch {BATCH}": (1, 2, BATCH),
}
BEST = f"2 callers x 1 thread, batch {BATCH}"


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Start the service several times, then load it and the bare network in turn."""
    bundle = load_bundle([path for path in find_bundles(options.models) if path.parent.name == options.model][-1])
    pixels = decode_image(options.image.read_bytes(), bundle.manifest.input)
    starts = []
    for _ in range(options.rounds):
        server = Server(options.models, options.model, options.image)
        starts.append(server.seconds_to_first_answer)
        memory_at_start = server.resident_mb()
        server.process.terminate()
        server.process.wait()
    server = Server(options.models, options.model, options.image)
    rounds = []
    for _ in range(options.rounds):
        raw = {name: raw_rate(bundle.model_path, pixels, *how, options.seconds) for name, how in RAW.items()}
        loads = [server.load(options.image, concurrency, options.seconds) for concurrency in CONCURRENCIES]
        rounds.append({"raw": raw, "service": loads})
    memory = {"start": memory_at_start, "after_load": server.resident_mb()}
    server.process.terminate()
    return {"starts": starts, "memory_mb": memory, "exit_code": server.process.wait(), "rounds": rounds}


def report(figures: dict[str, Any]) -> None:
    """Print medians over the rounds."""
    memory, rounds = figures["memory_mb"], figures["rounds"]
    print(f"start to first answer {statistics.median(figures['starts']):.2f} s (median of {len(figures['starts'])})")
    print(f"resident memory {memory['start']:.0f} MB at start, {memory['after_load']:.0f} MB after the load")
    for name in RAW:
        rates = [one["raw"][name] for one in rounds]
        spread = f"({min(rates):.0f} to {max(rates):.0f})"
        print(f"raw ONNX Runtime, {name:<30} {statistics.median(rates):7.0f} images/s  {spread}")
    for index, concurrency in enumerate(CONCURRENCIES):
        loads = [one["service"][index] for one in rounds]
        rate, p50, p99 = (statistics.median(load[key] for load in loads) for key in ("per_second", "p50_ms", "p99_ms"))
        ratio = statistics.median(
            load["per_second"] / one["raw"][BEST] for load, one in zip(loads, rounds, strict=True)
        )
        print(
            f"service, concurrency {concurrency:>2}: {rate:6.0f} requests/s, p50 {p50:6.2f} ms, p99 {p99:6.2f} ms, "
            f"{ratio:.2f} of raw ({BEST}), {sum(load['errors'] for load in loads)} errors"
        )
    print(f"exit code of the service after SIGTERM: {figures['exit_code']}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=ROOT / "models" / "shipped", help="folder of bundles")
    parser.add_argument("--model", default="cifar10-lt", help="which of them")
    parser.add_argument("--image", type=Path, default=ROOT / "tests" / "images" / "cat.webp", help="a WebP picture")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds; medians are printed")
    parser.add_argument("--json", type=Path, help="write all rounds there")
    options = parser.parse_args()
    print(machine())
    print(f"{options.model}, a picture of {options.image.stat().st_size} bytes, {options.seconds:g} s each")
    figures = measure(options)
    report(figures)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), **figures}, indent=2))


if __name__ == "__main__":
    main()
