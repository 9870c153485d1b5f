"""Compare the speed of the service with that of general model servers and of the bare network, in interleaved turns.

A round starts each server in turn, one at a time, and loads it at every concurrency. The ceiling (`ceiling.py`) is
measured before and after each load, while the server is paused. The order of servers and concurrencies changes from
round to round. Servers are compared by their ratio to the ceiling, because the machine's speed affects both.

    uv run python benchmarks/serve.py                                     # everything, about 40 minutes
    uv run python benchmarks/serve.py --models-under-test 32x32 --rounds 1 --first-round 1 --json round-1.json
    uv run python benchmarks/report.py round-*.json                       # tables of all rounds together
    uv run python benchmarks/serve.py --beside ../before                  # compare with another checkout

docs/explanation/measuring.md explains the rows and how to set up the peers.
"""

import argparse
import json
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from beside import beside_report, check_checkout, measure_pairs  # noqa: E402
from ceiling import Ceiling  # noqa: E402
from load import load, require_wrk  # noqa: E402
from machine import commit, invocation, machine  # noqa: E402
from photo import photograph  # noqa: E402
from processes import Running, end_on_signals  # noqa: E402
from report import report  # noqa: E402
from servers import Server, has_cache, known_servers, measurable  # noqa: E402

__all__ = ["MODELS", "about_this_run", "model_under_test"]

MODELS = {  # name -> bundle
    "32x32": ROOT / "models" / "shipped" / "cifar10-lt" / "2",
    "224x224": ROOT / "runs" / "bench-models" / "mobilenet-v3-large" / "1",
}
CONCURRENCIES = (1, 8, 64, 256)
BESIDE_CONCURRENCIES = (8, 64)
WARM_UP_SECONDS = 2.0  # after the start; half of it at each concurrency
CEILING_SECONDS = 0.8  # of each of its three measurements
TURNS = (
    4  # answers per connection that a load leaves time for, by the ceiling; with fewer, slow answers would not count
)
MAX_SECONDS = 60.0  # of a load, in case the ceiling was low for a moment


def model_under_test(name: str) -> tuple[Path, bytes]:
    """Return the bundle and the encoded picture for `32x32` or `224x224`."""
    bundle = MODELS[name]
    if not bundle.is_dir():
        raise SystemExit(
            f"{bundle} does not exist; make it with `uv run --group train python benchmarks/make_bundle.py`"
        )
    return bundle, (ROOT / "tests" / "images" / "cat.webp").read_bytes() if name == "32x32" else photograph()


def about_this_run() -> dict[str, Any]:
    """Return the origin of the figures: machine, commit, command, time and cache."""
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    cache = "response cache off" if has_cache() else "no response cache in this version"
    return {"machine": machine(), "commit": commit(), "command": invocation(), "started": when, "cache": cache}


class Measurement:
    """The measurements of one model, in `records` (loads) and `starts` (server starts)."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name = name
        self._options = options
        self._bundle, self._picture = model_under_test(name)
        self._ceiling = Ceiling(self._bundle, self._picture)
        self.records: list[dict[str, Any]] = []
        self.starts: list[dict[str, Any]] = []

    def turn(self, number: int, server: Server) -> None:
        """Start a server, load it at every concurrency and stop it."""
        with Running(server, self._bundle, self._picture) as running:
            self._check(server, running.first_answer)
            at_start = running.memory()
            load(running.port, [running.path], running.body, running.content_type, 8, WARM_UP_SECONDS)
            before = self._measure_ceiling(running)
            for concurrency in _rotated(self._options.concurrency, number):
                figures = self._load(running, concurrency, before["ceiling"])
                after = self._measure_ceiling(running)
                place = {"round": number, "model": self.name, "server": server.name, "concurrency": concurrency}
                self.records.append(place | figures | {"before": before, "after": after})
                _progress(self.records[-1])
                before = after
            place = {"round": number, "model": self.name, "server": server.name, "batches": server.batches}
            seconds = {"seconds_to_first_answer": running.seconds_to_first_answer}
            self.starts.append(place | seconds | {"at_start": at_start, "after_load": running.memory()})

    def _check(self, server: Server, answer: str) -> None:
        """Exit if a server's first answer is wrong."""
        found = re.search(r'"index\\?":\s*(\d+)', answer)
        if found is None or int(found[1]) != self._ceiling.top():
            raise SystemExit(f"{server.name} should rank class {self._ceiling.top()} first, but answers {answer[:300]}")

    def _load(self, running: Running, concurrency: int, ceiling: float) -> dict[str, float]:
        return load_running(
            running, concurrency, max(self._options.seconds, min(TURNS * concurrency / ceiling, MAX_SECONDS))
        )

    def _measure_ceiling(self, running: Running) -> dict[str, float]:
        with running.paused():
            return self._ceiling.measure(CEILING_SECONDS)


def load_running(running: Running, concurrency: int, seconds: float) -> dict[str, float]:
    """Warm a server up at a number of connections, load it for some seconds, and return what `load` measured.

    `cpu_ms_per_request` is added: the processor time of all the server's processes, per request.
    """
    post = (running.port, [running.path], running.body, running.content_type, concurrency)
    load(*post, WARM_UP_SECONDS / 2)
    running.settle()
    before = running.cpu_seconds()
    figures = load(*post, seconds)
    used = running.cpu_seconds() - before
    running.settle()
    return figures | {"cpu_ms_per_request": 1000 * used / max(1, figures["requests"])}


def _rotated(items: list[Any], by: int) -> list[Any]:
    by %= len(items)
    return items[by:] + items[:by]


def _progress(record: dict[str, Any]) -> None:
    around = (record["before"]["ceiling"] + record["after"]["ceiling"]) / 2
    print(
        f"round {record['round']} {record['model']:>7} {record['server']:<10} {record['concurrency']:>3}: "
        f"{record['per_second']:7.1f}/s, {record['per_second'] / around:.2f} of {around:.0f}/s, "
        f"p50 {record['p50_ms']:.1f} ms, p99 {record['p99_ms']:.1f} ms, {record['errors']} errors",
        file=sys.stderr,
        flush=True,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    there = measurable()
    parser.add_argument("--servers", nargs="+", default=there, choices=list(known_servers()), metavar="NAME")
    parser.add_argument("--models-under-test", nargs="+", default=list(MODELS), choices=list(MODELS), metavar="SIZE")
    parser.add_argument(
        "--concurrency", nargs="+", type=int, help="connections (default: 1 8 64 256, with --beside 8 64)"
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="minimum duration of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--first-round", type=int, default=0, help="number of the first round, which sets the order; for runs in parts"
    )
    parser.add_argument("--json", type=Path, help="write the measurements to this file, for report.py")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="compare with the service of another checkout")
    parser.add_argument("--pairs", type=int, default=10, help="interleaved pairs of measurements for --beside")
    options = parser.parse_args()
    options.concurrency = options.concurrency or list(CONCURRENCIES if options.beside is None else BESIDE_CONCURRENCIES)
    if missing := [name for name in options.servers if name not in there]:
        parser.error(
            f"{', '.join(missing)}: not set up; run `uv run python benchmarks/peers/setup.py {' '.join(missing)}`"
        )
    return options


def _compare_checkouts(options: argparse.Namespace) -> None:
    check_checkout(options.beside)
    run = about_this_run() | {"beside": str(options.beside)}
    started = time.monotonic()
    records: list[dict[str, Any]] = []

    def load_for(running: Running, concurrency: int) -> dict[str, float]:
        return load_running(running, concurrency, options.seconds)

    for name in options.models_under_test:
        bundle, picture = model_under_test(name)
        records += measure_pairs(name, bundle, picture, load_for, options)
        if options.json:
            options.json.write_text(json.dumps(run | {"pairs": records}, indent=1))
    print(beside_report(run | {"minutes": (time.monotonic() - started) / 60}, records))


def main() -> None:
    """Measure and print Markdown; progress goes to stderr."""
    options = _arguments()
    require_wrk()
    end_on_signals()
    if options.beside is not None:
        _compare_checkouts(options)
        return
    run: dict[str, Any] = about_this_run() | {"records": [], "starts": []}
    started = time.monotonic()
    measurements = [Measurement(name, options) for name in options.models_under_test]
    servers = [known_servers()[name] for name in options.servers]
    for number in range(options.first_round, options.first_round + options.rounds):
        for measurement in measurements:
            for server in _rotated(servers, number):
                measurement.turn(number, server)
            run["records"] = [record for done in measurements for record in done.records]
            run["starts"] = [start for done in measurements for start in done.starts]
            run["minutes"] = (time.monotonic() - started) / 60
            if options.json:  # after every model, so that an interrupted run leaves its measurements
                options.json.write_text(json.dumps(run, indent=1))
    print(report([run]))


if __name__ == "__main__":
    main()
