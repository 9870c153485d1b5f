"""Compare the service of this checkout with that of another one: `serve.py --beside CHECKOUT`.

A pair starts both services in turn, one at a time, and loads each in the same way; which one is first changes from pair
to pair. Both serve the same bundle and picture with the same interpreter and packages, so only the code differs. The
machine's speed drifts over minutes: a ratio within a pair compares two measurements that are seconds apart.

Processor time a request is the figure to judge by. Requests/s is reported beside it, and moves with whatever else the
machine does.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from machine import commit
from processes import Running
from servers import ROOT, Server, longtail

__all__ = ["beside_report", "check_checkout", "measure_pairs"]

MAX_RATIO = 1.02  # of processor time a request, median over the pairs
HERE = "here"
THERE = "there"

Load = Callable[[Running, int], dict[str, float]]


def check_checkout(folder: Path) -> None:
    """Exit with a message if the folder is not another checkout of this project."""
    if not (folder / "service" / "__main__.py").is_file():
        raise SystemExit(f"--beside {folder}: no service/__main__.py there; give the folder of another checkout")
    if folder.resolve() == ROOT:
        raise SystemExit(f"--beside {folder}: that is this checkout; give the folder of another one")


def measure_pairs(
    model: str, bundle: Path, picture: bytes, load: Load, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Measure both checkouts in interleaved pairs.

    Args:
        model: the name of the model under test.
        bundle: its folder, NAME/VERSION; both checkouts serve it.
        picture: the encoded picture that every request carries.
        load: warms a running service up, loads it at a number of connections, and returns the figures.
        options: `beside`, `pairs`, `concurrency`.

    Returns:
        one record for each pair and number of connections, with the figures of both.

    """
    servers = {HERE: longtail(), THERE: longtail(root=options.beside)}
    records: list[dict[str, Any]] = []
    for pair in range(options.pairs):
        order = [HERE, THERE] if pair % 2 == 0 else [THERE, HERE]
        figures = {side: _figures(servers[side], bundle, picture, load, options.concurrency) for side in order}
        for concurrency in options.concurrency:
            sides = {side: figures[side][concurrency] for side in (HERE, THERE)}
            records.append({"pair": pair, "model": model, "concurrency": concurrency} | sides)
            cpu = _ratio(records[-1], "cpu_ms_per_request")
            speed = _ratio(records[-1], "per_second")
            print(
                f"pair {pair} {model:>7} {concurrency:>3}: {cpu:.3f} of the processor time, {speed:.3f} of requests/s",
                file=sys.stderr,
                flush=True,
            )
    return records


def _figures(
    server: Server, bundle: Path, picture: bytes, load: Load, concurrencies: list[int]
) -> dict[int, dict[str, float]]:
    with Running(server, bundle, picture) as running:
        return {concurrency: load(running, concurrency) for concurrency in concurrencies}


def _ratio(record: dict[str, Any], key: str) -> float:
    return float(record[HERE][key] / record[THERE][key])


def beside_report(run: dict[str, Any], records: list[dict[str, Any]]) -> str:
    """Return the comparison as Markdown: the median ratio of each figure, and its range over the pairs."""
    places: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for record in records:
        places.setdefault((record["model"], record["concurrency"]), []).append(record)
    lines = [
        "```",
        f"$ {run['command']}",
        f"{run['started']}, {run['minutes']:.0f} min, commit {run['commit']} beside {commit(Path(run['beside']))}",
        run["machine"],
        "```",
        "",
        "| model | connections | pairs | CPU ms here | there | ratio | range | requests/s, ratio | range | errors |",
        "|---|--:|--:|--:|--:|--:|---|--:|---|--:|",
    ]
    slower = []
    for (model, concurrency), rows in places.items():
        cells = [f"{median(row[side]['cpu_ms_per_request'] for row in rows):.3f}" for side in (HERE, THERE)]
        for key in ("cpu_ms_per_request", "per_second"):
            ratios = [_ratio(row, key) for row in rows]
            cells += [f"{median(ratios):.3f}", f"{min(ratios):.3f} to {max(ratios):.3f}"]
        errors = sum(row[side]["errors"] for row in rows for side in (HERE, THERE))
        lines.append(f"| {model} | {concurrency} | {len(rows)} | {' | '.join(cells)} | {errors:.0f} |")
        if median(_ratio(row, "cpu_ms_per_request") for row in rows) > MAX_RATIO:
            slower.append(f"{model} at {concurrency} connections")
    verdict = f"missed for {', '.join(slower)}" if slower else "met everywhere"
    return "\n".join(
        [*lines, "", f"Bar: a median ratio of processor time a request of at most {MAX_RATIO:g}; {verdict}."]
    )
