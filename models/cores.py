"""The number of cores that this process may use: its CPU affinity, or a control group's limit if that is lower.

A limit such as `docker run --cpus 2` or systemd's `CPUQuota` does not hide cores. It stops all threads for the rest of
a period once they have used their share. With a thread for each core of a large machine, they use it up early in every
period, and all work waits. Linux has two kinds of control groups, and a process is bound by its own and all above it.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["CORES", "present_cores", "usable_cores"]

GROUPS = Path("/proc/self/cgroup")  # a line for each hierarchy: number, controllers (none in version 2) and group
MOUNTED = Path("/sys/fs/cgroup")


def usable_cores(present: int, groups: Path = GROUPS, mounted: Path = MOUNTED) -> int:
    """Return the number of cores that may be used at a time, at least 1.

    Args:
        present: cores that the process may run on.
        groups: the file that names the process's control groups.
        mounted: the folder where the groups' settings are.

    """
    limits = [limit for folder in _folders(groups, mounted) if (limit := _limit(folder)) is not None]
    return max(1, min([present, *limits]))


def present_cores() -> int:
    """Return the number of cores that the process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _folders(groups: Path, mounted: Path) -> Iterator[Path]:
    """Yield the folders of the process's groups, and of all above. In a container, the uppermost may be its own."""
    yield from (mounted, mounted / "cpu", mounted / "cpu,cpuacct")
    try:
        lines = groups.read_text().splitlines()
    except OSError:  # another system
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for top in (mounted, mounted / "unified") if not controllers else (mounted / "cpu", mounted / controllers):
            folder = top / group.lstrip("/")
            yield from (folder, *folder.parents[: len(folder.parts) - len(top.parts)])


def _limit(folder: Path) -> int | None:
    """Return a group's limit in cores, rounded up; None if it has none or it cannot be read."""
    try:
        if (folder / "cpu.max").exists():  # version 2: a quota of processor time, or `max`, and a period, in µs
            quota, period = (folder / "cpu.max").read_text().split()
        else:  # version 1, where no limit is -1
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return math.ceil(int(quota) / int(period)) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


CORES = usable_cores(present_cores())
