"""Metrics about the server itself: what its processes use, and which build it is.

The names of the `process_*` metrics are those of every Prometheus client library. With several server processes they
are sums over all of them and their supervisor, except the start time, which is the earliest. The processor time of
workers that have ended stays in the sum, so the counter never falls.
"""

import os
import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path

from prometheus_client import ProcessCollector
from prometheus_client.core import InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from service.version import VERSION

__all__ = ["BuildInfo", "Processes"]

EARLIEST = "process_start_time_seconds"
CPU_SECONDS = "process_cpu_seconds"  # the sample's name has the ending _total
CHILDREN_USER, CHILDREN_SYSTEM = 13, 14  # in /proc/PID/stat, counted from the field after the program's name
DISTRIBUTIONS = {"cpu": ("onnxruntime", "onnxruntime-gpu"), "cuda": ("onnxruntime-gpu", "onnxruntime")}


class Processes(Collector):
    """The `process_*` metrics of this process, or of all server processes and their supervisor.

    Args:
        folder: the folder with the metrics files of several processes; None if there is one process.

    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @override
    def collect(self) -> Iterator[Metric]:
        """Return the metrics; none on a system without /proc."""
        families: dict[str, Metric] = {}
        values: dict[str, list[float]] = {}
        for family in chain.from_iterable(map(_of_process, self._pids())):
            families[family.name] = family
            values.setdefault(family.name, []).append(family.samples[0].value)
        if self._folder is not None and CPU_SECONDS in values:
            values[CPU_SECONDS].append(_seconds_of_ended_children(os.getppid()))
        for name, family in families.items():
            value = min(values[name]) if name == EARLIEST else sum(values[name])
            family.samples = [family.samples[0]._replace(value=value)]
            yield family

    def _pids(self) -> list[str]:
        if self._folder is None:
            return ["self"]
        workers = {file.stem.rpartition("_")[2] for file in self._folder.glob("gauge_live*_*.db")}
        return [str(os.getppid()), *sorted(workers)]


class BuildInfo(Collector):
    """The metric `longtail_build_info`: versions as labels, and the value 1.

    Args:
        device: where networks run, `cpu` or `cuda`.
        precision: `float32` or `bfloat16`.

    """

    def __init__(self, *, device: str, precision: str) -> None:
        engine = "openvino" if precision == "bfloat16" else "onnxruntime"
        candidates = (engine,) if engine == "openvino" else DISTRIBUTIONS[device]
        self._labels = {
            "version": VERSION,
            "python": platform.python_version(),
            "engine": engine,
            "engine_version": next(filter(None, map(_version, candidates)), "unknown"),
            "device": device,
            "precision": precision,
            "pillow": _version("pillow") or "unknown",
        }

    @override
    def collect(self) -> Iterator[InfoMetricFamily]:
        """Return the metric."""
        yield InfoMetricFamily("longtail_build", "Versions of the server and of what computes in it.", self._labels)


def _of_process(pid: str) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=None).collect()


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _seconds_of_ended_children(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[CHILDREN_USER]) + int(fields[CHILDREN_SYSTEM])) / os.sysconf("SC_CLK_TCK")
