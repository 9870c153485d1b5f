"""Check that memory and disk do not grow while the service is at full load for a long time.

The script runs `python -m service` on 127.0.0.1. Many connections classify without a pause at changing alpha. One sends
labels for a share of the results. One repeats curve, summary, path, operating points, and tuning from feedback and from
traffic. Every 10 s the script records resident memory, the size of the database's files, requests/s, p99 and statuses.

    uv run python benchmarks/soak.py --minutes 60 --json soak.json --plot soak.svg

The exit code is 1 if memory or disk grew after the warm-up, or if an answer was unexpected.
"""

import argparse
import asyncio
import contextlib
import json
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from machine import machine, status_kb

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "tests" / "images"
DATA = ROOT.parent / "shared" / "data" / "cifar10-lt.zip"
MODEL = "/v1/models/cifar10-lt"
ALPHAS = ("0", "balanced", "tail", "label_free", "0.5&alpha=1.25&alpha=2")
KEEP_FEEDBACK = 20_000  # reached within minutes, so that the run covers the time after that
SAMPLE_SECONDS = 10.0
LABEL_SHARE = 0.1
WARM_UP = 0.25  # of the run: caches fill and limits are reached
MAX_GROWTH = 0.05  # of the median, over the rest of the run
GRACE_SECONDS = 60.0  # for the last answers, and for the service to stop; after that the run fails


def pictures() -> list[tuple[bytes, str]]:
    """Return test pictures of CIFAR-10 with their labels, or the three samples if the data set is not there."""
    if not DATA.exists():
        return [(path.read_bytes(), path.stem) for path in sorted(SAMPLES.glob("*.webp"))]
    found: dict[str, list[bytes]] = {}
    with zipfile.ZipFile(DATA) as archive:
        for name in archive.namelist():
            parts = name.split("/")
            if parts[0] == "test" and parts[-1] and len(found.setdefault(parts[1], [])) < 50:
                found[parts[1]].append(archive.read(name))
    return [(data, label) for label, files in found.items() for data in files]


class Connection:
    """A keep-alive connection with minimal HTTP/1.1."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def send(self, method: str, path: str, body: bytes = b"", media_type: str = "image/webp") -> tuple[int, Any]:
        """Send a request; return the answer's status and its JSON or text."""
        if self.reader is None or self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answer.lower())
        content = await self.reader.readexactly(int(length[1]) if length else 0)
        status = int(answer.split(b" ", 2)[1])
        return status, json.loads(content) if b"application/json" in answer else content.decode()


class Soak:
    """The load and its records."""

    def __init__(self, port: int, until: float) -> None:
        self.port = port
        self.until = until
        self.statuses: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.labels: deque[dict[str, str]] = deque(maxlen=1000)
        self.pictures = pictures()
        self.labels_sent = 0

    async def classify(self, seed: int) -> None:
        """Classify without a pause over one connection."""
        chance = random.Random(seed)
        connection = Connection(self.port)
        while time.monotonic() < self.until:
            data, label = chance.choice(self.pictures)
            started = time.monotonic()
            status, answer = await connection.send("POST", f"{MODEL}/classify?alpha={chance.choice(ALPHAS)}", data)
            self.latencies.append(time.monotonic() - started)
            self.statuses[f"classify {status}"] += 1
            if status == 200 and chance.random() < LABEL_SHARE:
                self.labels.append({"id": answer["results"][0]["id"], "label": label})

    async def label(self) -> None:
        """Send the collected labels twice a second."""
        connection = Connection(self.port)
        while time.monotonic() < self.until:
            await asyncio.sleep(0.5)
            batch = [self.labels.popleft() for _ in range(min(len(self.labels), 200))]
            if not batch:
                continue
            status, answer = await connection.send(
                "POST", "/v1/feedback", json.dumps(batch).encode(), "application/json"
            )
            self.statuses[f"feedback {status}"] += 1
            if status == 200:
                errors = [result["error"]["code"] for result in answer["results"] if "error" in result]
                self.labels_sent += len(batch) - len(errors)
                self.statuses.update(f"label {code}" for code in errors)

    async def choose(self) -> None:
        """Repeat all requests that deal with the choice of alpha."""
        connection = Connection(self.port)
        step = 0
        tune = {"objective": "balanced", "constraints": ["overall >= 0.5"], "save_as": "live", "who": "soak"}
        point = {"alpha": 1.1, "who": "soak"}
        steps = [
            ("POST", f"{MODEL}/alpha/tune?wait=30", {"source": "feedback", **tune}),
            ("GET", f"{MODEL}/alpha/curve?source=feedback&since=600", None),
            ("POST", f"{MODEL}/alpha/tune?wait=30", {"source": "traffic", "since": 60}),
            ("GET", f"{MODEL}/feedback", None),
            ("PUT", f"{MODEL}/operating-points/soak", point),
            ("GET", f"{MODEL}/operating-points/live", None),
            ("GET", "/metrics", None),
        ]
        await asyncio.sleep(min(10.0, (self.until - time.monotonic()) / 4))
        while time.monotonic() < self.until:
            method, path, body = steps[step % len(steps)]
            content = b"" if body is None else json.dumps(body).encode()
            status, _ = await connection.send(method, path, content, "application/json")
            self.statuses[f"{path.split('?')[0].removeprefix(MODEL)} {status}"] += 1
            status, _ = await connection.send("POST", f"{MODEL}/alpha-path", self.pictures[0][0])
            self.statuses[f"/alpha-path {status}"] += 1
            step += 1
            await asyncio.sleep(1.0)


def resident_mb(process: int) -> float:
    """Return a process's resident memory in 10^6 bytes."""
    return status_kb(process, "VmRSS") * 1024 / 1e6


def size_mb(database: Path) -> float:
    """Return the size of the database with its log in 10^6 bytes."""
    return sum(file.stat().st_size for file in database.parent.glob(f"{database.name}*")) / 1e6


def start(folder: Path, options: Mapping[str, object]) -> tuple["subprocess.Popen[bytes]", int, Path]:
    """Start the service with these flags; return its process, port and database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    database = folder / "soak.db"
    flags = {"--port": port, "--database": f"sqlite:///{database}", **options}
    arguments = [sys.executable, "-m", "service", *(str(part) for pair in flags.items() for part in pair)]
    process = subprocess.Popen(arguments, cwd=ROOT, stderr=(folder / "log").open("wb"))
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return process, port, database
        time.sleep(0.1)
    process.kill()
    raise SystemExit(f"the service did not start: {(folder / 'log').read_text()[-2000:]}")


async def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Load a service for the whole run and stop it; return the samples and totals."""
    process, port, database = start(folder, {"--keep-feedback": KEEP_FEEDBACK})
    try:
        return await load(options, process, Soak(port, time.monotonic() + 60 * options.minutes), database)
    except Exception:
        print(f"the end of the service's log:\n{(folder / 'log').read_text()[-3000:]}", file=sys.stderr)
        raise
    finally:
        process.kill()
        process.wait()


async def load(
    options: argparse.Namespace, process: "subprocess.Popen[bytes]", soak: Soak, database: Path
) -> dict[str, Any]:
    """Load the service, take samples and stop the service."""
    clients = [soak.classify(seed) for seed in range(options.concurrency)]
    tasks = [asyncio.create_task(client) for client in (*clients, soak.label(), soak.choose())]
    samples: list[dict[str, float]] = []
    started = last = time.monotonic()
    while not all(task.done() for task in tasks):
        if time.monotonic() > soak.until + GRACE_SECONDS:
            raise TimeoutError(f"answers are still missing {GRACE_SECONDS:g} s after the end of the load")
        await asyncio.wait(tasks, timeout=SAMPLE_SECONDS)
        for task in tasks:
            if task.done():
                task.result()  # raises the connection's error
        now = time.monotonic()
        latencies = sorted(soak.latencies)
        soak.latencies = []
        if now - last < SAMPLE_SECONDS / 2:
            continue
        samples.append(
            {
                "minutes": (now - started) / 60,
                "resident_mb": resident_mb(process.pid),
                "database_mb": size_mb(database),
                "requests_per_second": len(latencies) / (now - last),
                "p99_ms": 1000 * latencies[int(0.99 * len(latencies))] if latencies else 0.0,
                "labels": soak.labels_sent,
            }
        )
        last = now
        if len(samples) % 30 == 1:
            print(row(samples[-1]), flush=True)
    process.send_signal(signal.SIGTERM)
    code = process.wait(timeout=GRACE_SECONDS)
    return {"samples": samples, "statuses": dict(sorted(soak.statuses.items())), "exit_code": code}


def row(sample: dict[str, float]) -> str:
    """Return one line of the table."""
    size = f"{sample['resident_mb']:7.1f} MB resident  {sample['database_mb']:6.1f} MB database"
    speed = f"{sample['requests_per_second']:5.0f} requests/s  p99 {sample['p99_ms']:6.0f} ms"
    return f"{sample['minutes']:6.1f} min  {size}  {speed}  {sample['labels']:7.0f} labels"


def growth(samples: list[dict[str, float]], name: str, warm_up: float = WARM_UP) -> tuple[bool, str]:
    """Return whether a size stayed constant after the warm-up, and a sentence with its growth by least squares."""
    after = samples[int(warm_up * len(samples)) :]
    minutes = [sample["minutes"] for sample in after]
    values = [sample[name] for sample in after]
    slope = statistics.linear_regression(minutes, values).slope
    third = max(1, len(values) // 3)
    median = statistics.median(values)
    length = minutes[-1] - minutes[0]
    fine = slope * length < MAX_GROWTH * median
    first = statistics.fmean(values[:third])
    last = statistics.fmean(values[-third:])
    return fine, (
        f"median {median:.1f} MB after the warm-up, {60 * slope:+.2f} MB an hour ({slope * length:+.2f} MB over "
        f"{length:.0f} min); first third {first:.1f} MB, last third {last:.1f} MB: {'flat' if fine else 'GROWS'}"
    )


def picture(samples: list[dict[str, float]]) -> str:
    """Return a plot of memory and database size over time as SVG."""
    width = 720
    height = 320
    left = 60
    bottom = 40
    longest = samples[-1]["minutes"]
    highest = 1.15 * max(sample[name] for sample in samples for name in ("resident_mb", "database_mb"))

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x / longest * (width - left - 20), height - bottom - y / highest * (height - bottom - 20)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-size="12">']
    parts.append(f'<g font-family="sans-serif"><rect width="{width}" height="{height}" fill="white"/>')
    for step in range(6):
        value = highest * step / 5
        minutes = longest * step / 5
        x = place(minutes, value)[0]
        y = place(0, value)[1]
        parts.append(f'<path d="M{left} {y:.1f}H{width - 20}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.0f}</text>')
        parts.append(f'<text x="{x:.1f}" y="{height - 20}" text-anchor="middle">{minutes:.0f}</text>')
    parts.append(f'<text x="{width / 2}" y="{height - 4}" text-anchor="middle">minutes at full load</text>')
    lines = (("resident_mb", "#4477aa", "resident memory, MB"), ("database_mb", "#cc3344", "database, MB"))
    for name, colour, label in lines:
        points = " ".join("{:.1f},{:.1f}".format(*place(sample["minutes"], sample[name])) for sample in samples)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        x, y = place(samples[-1]["minutes"], samples[-1][name])
        parts.append(f'<text x="{x - 4:.1f}" y="{y - 8:.1f}" text-anchor="end" fill="{colour}">{label}</text>')
    return "\n".join([*parts, "</g></svg>\n"])


def verdict(figures: dict[str, Any]) -> bool:
    """Print the growth and the answers; return whether the run passed."""
    fine = figures["exit_code"] == 0
    for name, what in (("resident_mb", "resident memory"), ("database_mb", "database")):
        flat, words = growth(figures["samples"], name)
        fine &= flat
        print(f"{what}: {words}")
    unexpected = {name: n for name, n in figures["statuses"].items() if not name.endswith(" 200")}
    print(f"answers: {figures['statuses']}")
    print(f"unexpected: {unexpected or 'none'}; exit code after SIGTERM: {figures['exit_code']}")
    return fine and not unexpected


def main() -> None:
    """Run the test and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--concurrency", type=int, default=64, help="number of connections that classify")
    parser.add_argument("--json", type=Path, help="write all samples to this file")
    parser.add_argument("--plot", type=Path, help="draw memory over time to this file (.svg)")
    options = parser.parse_args()
    if options.minutes < 1:
        parser.error("--minutes must be at least 1, because a slope needs several samples")
    print(machine())
    with tempfile.TemporaryDirectory(prefix="longtail-soak-") as folder:
        figures = asyncio.run(run(options, Path(folder)))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), **figures}, indent=1))
    if options.plot:
        options.plot.write_text(picture(figures["samples"]))
    print(row(figures["samples"][-1]))
    sys.exit(0 if verdict(figures) else 1)


if __name__ == "__main__":
    main()
