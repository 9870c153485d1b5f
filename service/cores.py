"""The number of cores that this process may use: its CPU affinity, or a container's limit if that is lower.

A limit such as `docker run --cpus 2` does not hide cores. It stops all threads for the rest of a period once they have
used their share. With a thread for each core of a large machine, they use it up early in every period, and every
request waits.
"""

import math
import os
from pathlib import Path

__all__ = ["CORES", "usable_cores"]

LIMIT = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2: the limit of the container that this process runs in


def usable_cores(present: int, limit: Path = LIMIT) -> int:
    """Return the number of cores that may be used at a time, at least 1.

    Args:
        present: cores that the process may run on.
        limit: a file with the quota of processor time a period, or `max`, and the period, both in microseconds.

    """
    try:
        quota, period = limit.read_text().split()
        return max(1, min(present, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # there is no limit, or the file cannot be read
        return present


CORES = usable_cores(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
