"""How many cores this process may use: those it may run on, or less where a container's limit says so.

A limit such as `docker run --cpus 2` hides no core; it stops all threads for the rest of a period once they have used
their share. With a thread for each core of a large machine that comes early in every period, and every request waits.
"""

import math
import os
from pathlib import Path

__all__ = ["CORES", "usable_cores"]

LIMIT = Path("/sys/fs/cgroup/cpu.max")  # of the process's own control group, in a container (version 2)


def usable_cores(present: int, limit: Path = LIMIT) -> int:
    """Return how many of the cores that are present may be used at a time; at least 1.

    Args:
        present: cores that the process may run on.
        limit: a file with the microseconds of processor time in a period, or `max`, and the period in microseconds.

    """
    try:
        quota, period = limit.read_text().split()
        return max(1, min(present, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # no limit, or none that can be read
        return present


CORES = usable_cores(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
