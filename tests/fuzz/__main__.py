"""`python -m tests.fuzz --inputs 1000000`: feed this many mutated inputs to the parsers; exit with 1 on a fault.

Each target runs in its own process, so that a crash is a fault like any other. The report, one line of JSON for each
target, is what the tests check. A fault is printed with the command that repeats it.
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

MEMORY_BYTES = 6 << 30  # of address space, so that an endless expansion fails instead of filling the machine
MAX_INPUT_SECONDS = 2.0  # processor time for one input
PAGE_BYTES = resource.getpagesize()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--inputs", type=int, default=100_000, help="number of inputs, for all targets together or for --target"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations; another seed gives other inputs")
    parser.add_argument("--target", choices=TARGETS, help="fuzz only this target, in this process")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--warm-up", type=int, default=2000, help="inputs after which memory use should no longer grow")
    parser.add_argument("--progress", type=Path, help="file that holds the number of the current input")
    arguments = parser.parse_args()
    if arguments.target is None:
        return max(_in_a_process(name, arguments) for name in TARGETS)
    return _fuzz(arguments)


def _in_a_process(name: str, arguments: argparse.Namespace) -> int:
    """Fuzz one target in another process, and report its failure, crashes included."""
    count = arguments.inputs * TARGETS[name].share // 100
    flags = [
        "--inputs",
        str(count),
        "--seed",
        str(arguments.seed),
        "--target",
        name,
        "--warm-up",
        str(arguments.warm_up),
    ]
    with NamedTemporaryFile() as progress:
        progress.write(bytes(8))
        progress.flush()
        flags += ["--first", str(arguments.first), "--progress", progress.name]
        done = subprocess.run([sys.executable, "-m", "tests.fuzz", *flags], check=False)
        at = int.from_bytes(Path(progress.name).read_bytes(), "little")
    if done.returncode:
        print(f"{name}: exit {done.returncode}; python -m tests.fuzz --target {name} --seed {arguments.seed} "
              f"--first {at} --inputs 1", file=sys.stderr)  # fmt: skip
    return int(done.returncode != 0)


def _fuzz(arguments: argparse.Namespace) -> int:
    faulthandler.enable()
    logging.disable(logging.CRITICAL)  # faults are raised; refusals are expected
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    target = TARGETS[arguments.target]
    slowest = 0.0
    slowest_at = 0
    before = None
    progress = _progress(arguments.progress)
    outcomes = Counter[str]()
    started = time.monotonic()
    with target.ready() as function:
        for number in range(arguments.first, arguments.first + arguments.inputs):
            progress[:8] = number.to_bytes(8, "little")
            data = target.input(arguments.target, arguments.seed, number)
            if number - arguments.first == arguments.warm_up:
                before = _memory()
            clock = time.process_time()
            outcomes[function(data)] += 1
            if (took := time.process_time() - clock) > slowest:
                slowest = took
                slowest_at = number
    after = _memory()
    report = {"target": arguments.target, "inputs": arguments.inputs, "seconds": round(time.monotonic() - started, 1)}
    report |= {"slowest_seconds": round(slowest, 3), "slowest": slowest_at, "outcomes": outcomes}
    report |= {f"{name}_mb": [round(each[name] / 1e6) for each in (before or after, after)] for name in after}
    print(json.dumps(report), flush=True)
    return int(slowest > MAX_INPUT_SECONDS)


def _progress(path: Path | None) -> "mmap.mmap | bytearray":
    """Return the buffer for the number of the current input; the file behind it survives a crash."""
    if path is None:
        return bytearray(8)
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 8)


def _memory() -> dict[str, int]:
    """Return the resident bytes, without the allocator's free memory, and their peak so far."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    return {"resident": resident, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


if __name__ == "__main__":
    sys.exit(main())
