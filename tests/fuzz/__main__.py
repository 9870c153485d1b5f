"""`python -m tests.fuzz --inputs 1000000`: throw that many mutated inputs at the parsers; exit 1 at the first fault.

Each target runs in a process of its own, so that a crash is found like any other fault. What is printed at the end, one
JSON object a line, is what the tests look at. A fault is printed with the command that repeats it.
"""

import argparse
import ctypes
import faulthandler
import gc
import json
import logging
import mmap
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import NamedTemporaryFile

from tests.fuzz.targets import TARGETS

MEMORY_BYTES = 6 << 30  # of addresses: what expands without end fails instead of filling the machine
SLOWEST_SECONDS = 2.0  # of processor time, for one input
PAGE_BYTES = resource.getpagesize()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="in all, or of one target")
    parser.add_argument("--seed", type=int, default=0, help="another one gives other inputs")
    parser.add_argument("--target", choices=TARGETS, help="only this one, in this process")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--warm-up", type=int, default=2000, help="inputs after which memory should not grow any more")
    parser.add_argument("--progress", type=Path, help="file in which the number of the input at hand is kept")
    given = parser.parse_args()
    if given.target is None:
        return max(_in_a_process(name, given) for name in TARGETS)
    return _fuzz(given)


def _in_a_process(name: str, given: argparse.Namespace) -> int:
    """Fuzz one target in another process; what happens to that one is told like any fault."""
    count = given.inputs * TARGETS[name].share // 100
    flags = ["--inputs", str(count), "--seed", str(given.seed), "--target", name, "--warm-up", str(given.warm_up)]
    with NamedTemporaryFile() as progress:
        progress.write(bytes(8))
        progress.flush()
        flags += ["--first", str(given.first), "--progress", progress.name]
        done = subprocess.run([sys.executable, "-m", "tests.fuzz", *flags], check=False)
        at = int.from_bytes(Path(progress.name).read_bytes(), "little")
    if done.returncode:
        print(f"{name}: exit {done.returncode}; python -m tests.fuzz --target {name} --seed {given.seed} "
              f"--first {at} --inputs 1", file=sys.stderr)  # fmt: skip
    return int(done.returncode != 0)


def _fuzz(given: argparse.Namespace) -> int:
    faulthandler.enable()
    logging.disable(logging.CRITICAL)  # a fault is raised; refusals are no news
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    target = TARGETS[given.target]
    slowest = 0.0
    slowest_at = 0
    before = None
    progress = _progress(given.progress)
    outcomes = Counter[str]()
    started = time.monotonic()
    with target.ready() as function:
        for number in range(given.first, given.first + given.inputs):
            progress[:8] = number.to_bytes(8, "little")
            data = target.input(given.target, given.seed, number)
            if number - given.first == given.warm_up:
                before = _memory()
            clock = time.process_time()
            outcomes[function(data)] += 1
            if (took := time.process_time() - clock) > slowest:
                slowest = took
                slowest_at = number
    after = _memory()
    report = {"target": given.target, "inputs": given.inputs, "seconds": round(time.monotonic() - started, 1)}
    report |= {"slowest_seconds": round(slowest, 3), "slowest": slowest_at, "outcomes": outcomes}
    report |= {f"{name}_mb": [round(each[name] / 1e6) for each in (before or after, after)] for name in after}
    print(json.dumps(report), flush=True)
    return int(slowest > SLOWEST_SECONDS)


def _progress(path: Path | None) -> "mmap.mmap | bytearray":
    """Return what the number of the input at hand is written into; a file outlives a crash."""
    if path is None:
        return bytearray(8)
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 8)


def _memory() -> dict[str, int]:
    """Return bytes resident now, without what the allocator keeps for later, and at most so far."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    return {"resident": resident, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


if __name__ == "__main__":
    sys.exit(main())
