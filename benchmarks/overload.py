"""Check that the service stays correct, fast and small at twice its capacity, under clients of every kind.

The script runs `python -m service` on 127.0.0.1. It first measures the capacity, with connections that classify without
a pause. Then requests arrive at random times at twice that rate, whether or not the service keeps up:

    good        a picture whose answer is known, at one of several alphas; expects that answer with 200, or 503
    broken      not a picture, half a picture, an invalid alpha, or a form with a broken file; expects its error, or 503
    vanished    a client that disconnects in the middle of its request or before the answer
    slow        a body sent in pieces over seconds; expects the right answer with 200, or 503
    stuck       an endless head or body, or silence; the service closes the connection, and the client comes back

    uv run python benchmarks/overload.py --minutes 15 --json overload.json

The exit code is 1 if an answer was wrong or unexpected, if memory grew after the first minute, if the p99 of accepted
requests was longer than a full queue explains, or if the service did not stop cleanly.
"""

import argparse
import asyncio
import contextlib
import json
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

import uvloop
from machine import machine
from soak import growth, pictures, resident_mb, start

MODEL = "/v1/models/cifar10-lt/classify"
ALPHAS = ("0", "balanced", "tail", "1.25")
PICTURES = 60
LIMIT = 256  # max_pending_images
CAPACITY_SECONDS = 15.0
CAPACITY_CONNECTIONS = 64
SAMPLE_SECONDS = 10.0
CLIENT_SECONDS = 30.0  # a later answer counts as missing
IDLE_SECONDS = 3.0  # the server closes connections that are idle for 5 s
STUCK = 60  # connections of stuck clients
SHARES = {"good": 0.80, "broken": 0.12, "vanished": 0.06, "slow": 0.02}
TOLERANCE = 1e-3  # of a probability: batches of different sizes round differently
BOUND = 3.0  # times a full queue's duration: to wait in it, to be read beside refused requests, and for the load itself
HEAD = "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"


class GoneError(Exception):
    """The server closed the connection without an answer."""


class Connection:
    """A keep-alive connection with minimal HTTP/1.1, opened when it is needed.

    If a reused connection turns out to be closed, it sends the request again on a new one, as HTTP clients do.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.used = False
        self.since = 0.0

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect if necessary; return the streams."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
            self.used = False
            self.since = time.monotonic()
        return self.streams

    def close(self) -> None:
        """Close the connection."""
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None

    async def ask(self, path: str, body: bytes, kind: str = "image/webp", pieces: int = 1) -> tuple[int, Any]:
        """Send a request, its body in `pieces` pieces, one a second; return the answer's status and JSON."""
        reader, writer = await self.open()
        try:
            status, head, content = await exchange(reader, writer, path, body, kind, pieces)
        except (asyncio.IncompleteReadError, ConnectionError, RuntimeError) as error:
            retry = self.used
            self.close()
            if not retry:
                raise GoneError from error
            return await self.ask(path, body, kind, pieces)
        self.used = True
        if b"connection: close" in head.lower():
            self.close()
        return status, json.loads(content)


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes, kind: str, pieces: int
) -> tuple[int, bytes, bytes]:
    """Send a request; return the answer's status, head and body."""
    writer.write(HEAD.format(path=path, kind=kind, length=len(body)).encode())
    size = max(1, -(-len(body) // pieces))
    for start_at in range(0, len(body), size):
        writer.write(body[start_at : start_at + size])
        if start_at + size < len(body):
            await asyncio.sleep(1.0)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head[9:12]), head, await reader.readexactly(length)


class Overload:
    """The clients and their results."""

    def __init__(self, port: int) -> None:
        chosen = random.Random(0).sample(pictures(), PICTURES)
        self.port = port
        self.pictures = [data for data, _ in chosen]
        self.right: dict[tuple[int, str], list[tuple[int, float]]] = {}
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.accepted: list[float] = []  # seconds
        self.refused: list[float] = []
        self.idle: deque[Connection] = deque()

    async def learn(self) -> None:
        """Record the right answers, by sending each request once, one at a time, to the idle service."""
        connection = Connection(self.port)
        for number, data in enumerate(self.pictures):
            for alpha in ALPHAS:
                status, answer = await connection.ask(f"{MODEL}?alpha={alpha}", data)
                if status != 200:
                    raise SystemExit(f"the idle service does not classify: {status} {answer}")
                self.right[number, alpha] = classes(answer)

    async def capacity(self) -> float:
        """Return the requests/s of connections that classify without a pause."""
        until = time.monotonic() + CAPACITY_SECONDS
        done = 0

        async def client(seed: int) -> None:
            nonlocal done
            chance = random.Random(seed)
            connection = Connection(self.port)
            while time.monotonic() < until:
                await self.good(chance, connection)
                done += 1

        await asyncio.gather(*(client(seed) for seed in range(CAPACITY_CONNECTIONS)))
        return done / CAPACITY_SECONDS

    async def one(self, kind: str, seed: int) -> None:
        """Act as one client that has just arrived."""
        chance = random.Random(seed)
        connection = self.take()
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                await getattr(self, kind)(chance, connection)
        except TimeoutError:
            self.fail(f"{kind}: no answer within {CLIENT_SECONDS:g} s")
            connection.close()
        except GoneError:
            self.fail(f"{kind}: the connection was closed without an answer")
        connection.since = time.monotonic()
        self.idle.append(connection)

    def take(self) -> Connection:
        """Return the most recently used connection, or a new one if the server may soon close it as idle."""
        while self.idle and (self.idle[0].streams is None or time.monotonic() - self.idle[0].since > IDLE_SECONDS):
            self.idle.popleft().close()
        return self.idle.pop() if self.idle else Connection(self.port)

    async def good(self, chance: random.Random, connection: Connection, pieces: int = 1) -> None:
        """Classify a picture whose answer is known."""
        number = chance.randrange(PICTURES)
        alpha = chance.choice(ALPHAS)
        started = time.monotonic()
        status, answer = await connection.ask(f"{MODEL}?alpha={alpha}", self.pictures[number], pieces=pieces)
        self.outcomes[f"{'good' if pieces == 1 else 'slow'} {status}"] += 1
        if status == 200:
            if pieces == 1:
                self.accepted.append(time.monotonic() - started)
            if not alike(classes(answer), self.right[number, alpha]):
                self.fail(f"picture {number} at alpha {alpha}: {classes(answer)}, not {self.right[number, alpha]}")
        elif (status, answer["error"]["code"]) == (503, "overloaded"):
            self.refused += [time.monotonic() - started] if pieces == 1 else []
        else:
            self.fail(f"good: {status} {answer}")

    async def slow(self, chance: random.Random, connection: Connection) -> None:
        """Classify a picture, sending the body in three pieces."""
        await self.good(chance, connection, pieces=3)

    async def broken(self, chance: random.Random, connection: Connection) -> None:
        """Send an invalid request and expect its specific error."""
        data = chance.choice(self.pictures)
        form = b"".join(
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="%d"\r\n\r\n%b\r\n' % pair
            for pair in enumerate((data, b"no picture"))
        )
        path, body, kind, expected = chance.choice(
            (
                (MODEL, b"no picture at all", "image/webp", 422),
                (MODEL, data[: len(data) // 2], "image/webp", 422),
                (MODEL, b"", "image/webp", 400),
                (MODEL, data, "text/plain", 415),
                (f"{MODEL}?alpha=much", data, "image/webp", 422),
                (MODEL.replace("cifar10-lt", "nothing"), data, "image/webp", 404),
                (MODEL, form + b"--x--\r\n", "multipart/form-data; boundary=x", 200),
            )
        )
        status, answer = await connection.ask(path, body, kind)
        self.outcomes[f"broken {status}"] += 1
        if status not in {expected, 503}:
            self.fail(f"broken: {status} {answer}, not {expected}")
        if status == 200 and ["error" in result for result in answer["results"]] != [False, True]:
            self.fail(f"a form with one broken picture: {answer}")

    async def vanished(self, chance: random.Random, connection: Connection) -> None:
        """Disconnect before the answer."""
        _, writer = await connection.open()
        request = HEAD.format(path=MODEL, kind="image/webp", length=len(self.pictures[0])).encode() + self.pictures[0]
        writer.write(request[: chance.choice((20, len(request) - 5, len(request)))])
        await asyncio.sleep(chance.choice((0.0, 0.01, 0.1)))
        connection.close()
        self.outcomes["vanished"] += 1

    async def stuck(self, seed: int) -> None:
        """Never finish a request; connect again when the server closes the connection."""
        chance = random.Random(seed)
        while True:
            connection = Connection(self.port)
            try:
                reader, writer = await connection.open()
                writer.write(
                    chance.choice((b"", b"GET / HTTP/1.1\r\n", HEAD.format(path=MODEL, kind="x", length=9**9).encode()))
                )
                while not reader.at_eof():
                    writer.write(b"a")
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(1024), 2.0)
            except (ConnectionError, RuntimeError):  # RuntimeError: uvloop raises it on writing to a closed connection
                pass
            finally:
                connection.close()
            self.outcomes["stuck, cut off"] += 1
            await asyncio.sleep(0.1)

    def fail(self, what: str) -> None:
        """Record and print a wrong or unexpected outcome."""
        if len(self.wrong) < 20:
            print(f"UNEXPECTED: {what}", flush=True)
        self.wrong.append(what)


def classes(answer: Any) -> list[tuple[int, float]]:
    """Return the classes and probabilities of an answer's single prediction."""
    return [(entry["index"], entry["probability"]) for entry in answer["results"][0]["predictions"][0]["classes"]]


def alike(given: list[tuple[int, float]], expected: list[tuple[int, float]]) -> bool:
    """Return whether two answers agree except for rounding; nearly tied classes may change places."""
    probabilities = dict(expected)
    return all(abs(p - q) < TOLERANCE for (_, p), (_, q) in zip(given, expected, strict=True)) and all(
        abs(p - probabilities.get(index, p)) < TOLERANCE for index, p in given
    )


async def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start a service, load it and stop it; return the figures."""
    process, port, _ = start(folder, {"--cache-mb": 0, "--max-pending-images": LIMIT, "--max-connections": 8192})
    try:
        load = Overload(port)
        await load.learn()
        capacity = await load.capacity()
        print(
            f"capacity {capacity:.0f} requests/s; offering {2 * capacity:.0f} for {options.minutes:g} min", flush=True
        )
        samples = await offer(load, process.pid, 2 * capacity, 60 * options.minutes)
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    except BaseException:
        print(f"the end of the service's log:\n{(folder / 'log').read_text()[-3000:]}", file=sys.stderr)
        raise
    finally:
        process.kill()
        process.wait()
    log = (folder / "log").read_text()
    return {
        "capacity": capacity,
        "samples": samples,
        "outcomes": dict(sorted(load.outcomes.items())),
        "wrong": load.wrong,
        "exit_code": code,
        "tracebacks": log.count("Traceback"),
    }


async def offer(load: Overload, pid: int, rate: float, seconds: float) -> list[dict[str, float]]:
    """Let clients arrive at `rate` per second on average; return a sample for every ten seconds."""
    chance = random.Random(1)
    samples = []
    tasks: set[asyncio.Task[None]] = set()
    stuck = [asyncio.create_task(load.stuck(seed)) for seed in range(STUCK)]
    load.outcomes.clear()
    load.accepted.clear()
    began = last = due = time.monotonic()
    arrived = 0
    while (now := time.monotonic()) < began + seconds:
        while due <= now:
            due += chance.expovariate(rate)
            kind = chance.choices(list(SHARES), list(SHARES.values()))[0]
            task = asyncio.create_task(load.one(kind, arrived))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            arrived += 1
        await asyncio.sleep(0.002)
        if now - last >= SAMPLE_SECONDS:
            accepted = sorted(load.accepted)
            refused = sorted(load.refused)
            load.accepted = []
            load.refused = []
            samples.append(
                {
                    "minutes": (now - began) / 60,
                    "resident_mb": resident_mb(pid),
                    "offered_per_second": arrived / (now - last),
                    "accepted_per_second": len(accepted) / (now - last),
                    "p50_ms": 1000 * part_of(accepted, 0.5),
                    "p99_ms": 1000 * part_of(accepted, 0.99),
                    "refused_p99_ms": 1000 * part_of(refused, 0.99),
                }
            )
            arrived = 0
            last = now
            if len(samples) % 6 == 1:
                print(row(samples[-1]), flush=True)
    for task in stuck:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=False)
    return samples


def part_of(ascending: list[float], share: float) -> float:
    """Return the quantile `share` of sorted values; 0 if there are none."""
    return ascending[int(share * len(ascending))] if ascending else 0.0


def row(sample: dict[str, float]) -> str:
    """Return one line of the table."""
    speed = f"{sample['offered_per_second']:5.0f} offered/s  {sample['accepted_per_second']:5.0f} accepted good/s"
    times = f"p50 {sample['p50_ms']:4.0f} ms  p99 {sample['p99_ms']:4.0f} ms, of 503 {sample['refused_p99_ms']:4.0f} ms"
    return f"{sample['minutes']:5.1f} min  {sample['resident_mb']:6.1f} MB resident  {speed}  {times}"


def verdict(figures: dict[str, Any]) -> bool:
    """Print the results; return whether the service met its bounds."""
    after = [sample for sample in figures["samples"] if sample["minutes"] > 1.0]
    flat, words = growth(after, "resident_mb", warm_up=0.0)
    print(f"resident memory after the first minute: {words}")
    slowest = max(sample["p99_ms"] for sample in after)
    rate = min(sample["accepted_per_second"] for sample in after) / SHARES["good"]
    bound = 1000 * BOUND * LIMIT / rate
    queue = f"{LIMIT} pictures at {rate:.0f}/s x {BOUND} are {bound:.0f} ms"
    print(f"p99 of accepted requests: at most {slowest:.0f} ms; {queue}")
    print(f"outcomes: {figures['outcomes']}")
    ended = f"tracebacks in the log: {figures['tracebacks']}; exit code {figures['exit_code']}"
    print(f"wrong or unexpected: {len(figures['wrong'])}; {ended}")
    return (
        flat and slowest <= bound and not figures["wrong"] and not figures["tracebacks"] and figures["exit_code"] == 0
    )


def main() -> None:
    """Run the test and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    if options.minutes < 2:
        parser.error("--minutes must be at least 2, because the first minute is the warm-up")
    print(machine())
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.TemporaryDirectory(prefix="longtail-overload-") as folder:
        figures = uvloop.run(run(options, Path(folder)))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), **figures}, indent=1))
    print(row(figures["samples"][-1]))
    sys.exit(0 if verdict(figures) else 1)


if __name__ == "__main__":
    main()
