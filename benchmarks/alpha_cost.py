"""Measure the cost of alpha and the gain of the response cache, on our service alone.

    uv run python benchmarks/alpha_cost.py

The queries take turns on one running server, with the cache off. Each turn is divided by the mean of the turns at
alpha = 1 right before and after it. A second server then has the cache on, so every request but the first is a hit.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

from load import load, require_wrk
from processes import Running, end_on_signals
from serve import MODELS, about_this_run, model_under_test
from servers import has_cache, longtail

PLAIN = "alpha=1"
QUERIES = {  # row of the table -> its queries
    "alpha = 0": ["alpha=0"],
    "alpha = balanced": ["alpha=balanced"],
    "100 values of alpha in one request": ["&".join(f"alpha={index / 50:.2f}" for index in range(100))],
    "mixed alpha, one a request": [f"alpha={index / 8:.3f}" for index in range(16)],
}
CACHE_MB = 64
WARM_UP_SECONDS = 2.0
Rows = dict[str, list[dict[str, float]]]


def _post(running: Running, queries: list[str], concurrency: int, seconds: float) -> dict[str, float]:
    path = running.path.partition("?")[0]
    used = running.cpu_seconds()
    paths = [f"{path}?{query}" for query in queries]
    figures = load(running.port, paths, running.body, running.content_type, concurrency, seconds)
    figures["cpu_ms"] = 1000 * (running.cpu_seconds() - used) / max(1, figures["requests"])
    return figures


def measure_alpha(model: str, options: argparse.Namespace) -> Rows:
    """Return, for each query, the ratios of rate, p99 and processor time to the alpha = 1 turns around it."""
    bundle, picture = model_under_test(model)
    rows: Rows = {name: [] for name in QUERIES}
    with Running(longtail(), bundle, picture) as running:
        _post(running, [PLAIN], options.concurrency, WARM_UP_SECONDS)
        for number in range(options.rounds):
            names = list(QUERIES)
            turn = number % len(names)
            before = _post(running, [PLAIN], options.concurrency, options.seconds)
            for name in names[turn:] + names[:turn]:
                figures = _post(running, QUERIES[name], options.concurrency, options.seconds)
                after = _post(running, [PLAIN], options.concurrency, options.seconds)
                ratios = {
                    key: 2 * figures[key] / (before[key] + after[key]) for key in ("per_second", "p99_ms", "cpu_ms")
                }
                rows[name].append(ratios | {"rate": figures["per_second"], "errors": figures["errors"]})
                before = after
    return rows


def measure_cache(model: str, options: argparse.Namespace) -> dict[int, list[dict[str, float]]]:
    """Return the turns at each concurrency with every answer from the cache."""
    bundle, picture = model_under_test(model)
    rows: dict[int, list[dict[str, float]]] = {1: [], 8: [], 64: []}
    with Running(longtail(CACHE_MB), bundle, picture) as running:
        _post(running, [PLAIN], options.concurrency, WARM_UP_SECONDS)
        for _ in range(options.rounds):
            for concurrency, turns in rows.items():
                turns.append(_post(running, [PLAIN], concurrency, options.seconds))
    return rows


def _spread(turns: list[dict[str, float]], key: str) -> str:
    values = [turn[key] for turn in turns]
    return f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _report(model: str, result: dict[str, Any], concurrency: int) -> None:
    print(f"\n### {model}, {concurrency} connections\n")
    print("| asked for | requests/s | of alpha = 1 | p99 of alpha = 1's | CPU of alpha = 1's | errors |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, turns in result["alpha"].items():
        cells = [f"{median(turn['rate'] for turn in turns):.0f}"]
        cells += [_spread(turns, key) for key in ("per_second", "p99_ms", "cpu_ms")]
        print(f"| {name} | {' | '.join(cells)} | {sum(turn['errors'] for turn in turns):.0f} |")
    if "cache" in result:
        print("\n| every answer from the cache, connections | requests/s | p50 ms | p99 ms | errors |")
        print("|--:|--:|--:|--:|--:|")
    for connections, turns in result.get("cache", {}).items():
        cells = [median(turn[key] for turn in turns) for key in ("per_second", "p50_ms", "p99_ms")]
        errors = sum(turn["errors"] for turn in turns)
        print(f"| {connections} | {cells[0]:.0f} | {cells[1]:.2f} | {cells[2]:.2f} | {errors:.0f} |")


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models-under-test", nargs="+", default=list(MODELS), choices=list(MODELS), metavar="SIZE")
    parser.add_argument("--concurrency", type=int, default=64, help="number of connections")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each turn")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each query")
    parser.add_argument("--json", type=Path, help="write all turns to this file")
    options = parser.parse_args()
    require_wrk()
    end_on_signals()
    about = about_this_run()
    print(
        "```\n"
        + "\n".join([f"$ {about['command']}", f"{about['started']}, commit {about['commit']}", about["machine"]])
        + "\n```"
    )
    results: dict[str, dict[str, Any]] = {}
    for model in options.models_under_test:
        results[model] = {"alpha": measure_alpha(model, options)}
        if has_cache():
            results[model]["cache"] = measure_cache(model, options)
        else:
            print("this version of the service has no response cache", file=sys.stderr)
        _report(model, results[model], options.concurrency)
    if options.json:
        options.json.write_text(json.dumps(about | {"results": results}, indent=1))


if __name__ == "__main__":
    main()
