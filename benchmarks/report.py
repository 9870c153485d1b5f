"""Print serve.py's measurements as Markdown tables, from one run or several together.

uv run python benchmarks/report.py FILE [FILE ...]
"""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from servers import OURS

__all__ = ["report"]

Rows = list[dict[str, Any]]


def report(runs: list[dict[str, Any]]) -> str:
    """Return Markdown tables of all runs; figures are medians over all rounds."""
    records = [record for run in runs for record in run["records"]]
    starts = [start for run in runs for start in run["starts"]]
    parts = ["```", *(_about(run) for run in runs), "```"]
    for model in _distinct(records, "model"):
        rows = [record for record in records if record["model"] == model]
        parts += ["", f"### {model}", "", _drift(rows), "", *_speed(rows)]
        parts += ["", *_resources([start for start in starts if start["model"] == model])]
        parts += ["", *_bars(rows, [start for start in starts if start["model"] == model])]
    return "\n".join(parts)


def _about(run: dict[str, Any]) -> str:
    lines = [
        f"$ {run['command']}",
        f"{run['started']}, {run['minutes']:.0f} min, commit {run['commit']}, {run['cache']}",
    ]
    return "\n".join([*lines, run["machine"]])


def _drift(records: Rows) -> str:
    """Return a sentence about the ceiling and its range during the run."""
    measured = [record[when] for record in records for when in ("before", "after")]
    ceilings, networks = ([figures[key] for figures in measured] for key in ("ceiling", "network"))
    batches = sorted({figures["batch"] for figures in measured})
    return (
        f"Ceiling (decode and run, 2 callers x 1 thread, best of batch {' and '.join(map(str, batches))}) "
        f"{median(ceilings):.0f} images/s, {min(ceilings):.0f} to {max(ceilings):.0f} over the run; "
        f"ONNX Runtime alone {median(networks):.0f} images/s, {min(networks):.0f} to {max(networks):.0f}."
    )


def _speed(records: Rows) -> list[str]:
    lines = [
        "| server | connections | requests/s | of the ceiling | p50 ms | p99 ms | p99 in turns | CPU ms | errors |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for server in _distinct(records, "server"):
        for concurrency in sorted(_distinct(records, "concurrency")):
            rows = _of(records, server, concurrency)
            if rows:
                figures = [_median(rows, key) for key in ("per_second", "p50_ms", "p99_ms", "cpu_ms_per_request")]
                errors = sum(row["errors"] for row in rows)
                lines.append(
                    f"| {server} | {concurrency} | {figures[0]:.0f} | {_middle(rows, share):.2f} | {figures[1]:.1f} | "
                    f"{figures[2]:.1f} | {_middle(rows, tail):.2f} | {figures[3]:.2f} | {errors:.0f} |"
                )
    return lines


def share(record: dict[str, Any]) -> float:
    """Return requests/s divided by the ceiling."""
    return float(record["per_second"] / around(record))


def tail(record: dict[str, Any]) -> float:
    """Return p99 divided by the ceiling's time for one picture per connection; 1 means perfect turns."""
    return float(record["p99_ms"] / 1000 * around(record) / record["concurrency"])


def around(record: dict[str, Any]) -> float:
    """Return the mean of the ceilings before and after."""
    return float((record["before"]["ceiling"] + record["after"]["ceiling"]) / 2)


def _resources(starts: Rows) -> list[str]:
    lines = [
        "| server | start, s | PSS at start, MB | after load | RSS at start, MB | after load | processes |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for server in _distinct(starts, "server"):
        rows = [start for start in starts if start["server"] == server]
        cells = [f"{_median(rows, 'seconds_to_first_answer'):.2f}"]
        for size in ("pss_mb", "rss_mb"):
            cells += [f"{median(row[when][size] for row in rows):.0f}" for when in ("at_start", "after_load")]
        cells.append(f"{median(row['after_load']['processes'] for row in rows):.0f}")
        lines.append(f"| {server} | {' | '.join(cells)} |")
    return lines


def _bars(records: Rows, starts: Rows) -> list[str]:
    """Compare each of our servers with the best peer, as ratios to the ceiling; peers with errors do not count."""
    ours = [server for server in _distinct(records, "server") if server.startswith(OURS)]
    if not ours or len(ours) == len(_distinct(records, "server")):
        return ["This run does not compare our service with peers: one of them is missing."]
    lines = [
        "| ours | connections | best peer by requests/s | ours / it | best peer by p99 | ours / it | ours / ceiling |",
        "|---|--:|---|--:|---|--:|--:|",
    ]
    for server in ours:
        for concurrency in sorted(_distinct(records, "concurrency")):
            lines.append(f"| {server} | {concurrency} | {_beside_the_best(records, server, concurrency)} |")
    return [*lines, "", *_least(starts, ours)]


def _beside_the_best(records: Rows, our_server: str, concurrency: int) -> str:
    speeds, tails = (
        {server: _middle(rows, key) for server, rows in _without_errors(records, concurrency).items()}
        for key in (share, tail)
    )
    peers = [server for server in speeds if not server.startswith(OURS)]
    if our_server not in speeds or not peers:
        return "ours or all peers had errors | | | | "
    best = max(peers, key=speeds.__getitem__)
    calmest = min(peers, key=tails.__getitem__)
    ratios = speeds[our_server] / speeds[best], tails[our_server] / tails[calmest]
    return f"{best} | {ratios[0]:.2f} | {calmest} | {ratios[1]:.2f} | {speeds[our_server]:.2f}"


def _least(starts: Rows, ours: list[str]) -> list[str]:
    def of(server: str, read: Callable[[dict[str, Any]], float]) -> float:
        return median(read(start) for start in starts if start["server"] == server)

    others = [server for server in _distinct(starts, "server") if server not in ours]
    batching = {start["server"] for start in starts if start["batches"]} - set(ours)
    readings: list[tuple[str, Iterable[str], Callable[[dict[str, Any]], float]]] = [
        ("start to first answer, s, of all", others, lambda start: start["seconds_to_first_answer"]),
        ("PSS at start, MB, of those that batch", batching, lambda start: start["at_start"]["pss_mb"]),
        ("PSS after load, MB, of those that batch", batching, lambda start: start["after_load"]["pss_mb"]),
    ]
    lines = []
    for what, servers, read in readings:
        values = {server: of(server, read) for server in servers}
        if values:
            least = min(values, key=values.__getitem__)
            our_values = ", ".join(f"{server} {of(server, read):.2f}" for server in ours)
            lines.append(f"- least {what}: {least} {values[least]:.2f}; {our_values}")
    return lines


def _of(records: Rows, server: str, concurrency: int | None) -> Rows:
    return [row for row in records if row["server"] == server and concurrency in (None, row["concurrency"])]


def _without_errors(records: Rows, concurrency: int) -> dict[str, Rows]:
    found = {server: _of(records, server, concurrency) for server in _distinct(records, "server")}
    return {server: rows for server, rows in found.items() if rows and not any(row["errors"] for row in rows)}


def _distinct(rows: Rows, key: str) -> list[Any]:
    return sorted({row[key] for row in rows}, key=lambda value: (not str(value).startswith(OURS), value))


def _median(rows: Rows, key: str) -> float:
    return float(median(row[key] for row in rows))


def _middle(rows: Rows, of: Callable[[dict[str, Any]], float]) -> float:
    return median(map(of, rows))


def main() -> None:
    """Print the tables of all files together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="files written by serve.py --json")
    print(report([json.loads(file.read_text()) for file in parser.parse_args().files]))


if __name__ == "__main__":
    main()
