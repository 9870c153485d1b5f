"""A control group's limit bounds the number of cores, in either version and at any level, for everything that asks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.cores import usable_cores

ROOT = Path(__file__).parents[2]


def group(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder


def cores(tmp_path: Path, groups: str = "0::/\n") -> int:
    (tmp_path / "groups").write_text(groups)
    return usable_cores(8, tmp_path / "groups", tmp_path / "mounted")


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("250000 100000\n", 3),  # two and a half
        ("50000 100000\n", 1),
        ("9900000 100000\n", 8),
        ("100000 0\n", 8),
        ("", 8),
        ("0 100000\n", 8),
        ("many 100000\n", 8),
    ],
)
def test_a_limit_is_rounded_up_to_cores(tmp_path: Path, limit: str, expected: int) -> None:
    group(tmp_path / "mounted", cpu__max=limit)
    assert cores(tmp_path) == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [("200000\n", "100000\n", 2), ("-1\n", "100000\n", 8), ("150000\n", "100000\n", 2), ("1000\n", "0\n", 8)],
)
@pytest.mark.parametrize("place", ["cpu", "cpu,cpuacct", "cpu/docker/abc", "cpu,cpuacct/docker/abc", "cpu/docker"])
def test_limits_of_version_one_at_any_level(tmp_path: Path, place: str, quota: str, period: str, expected: int) -> None:
    group(tmp_path / "mounted" / place, cpu__cfs_quota_us=quota, cpu__cfs_period_us=period)
    assert cores(tmp_path, "12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n") == expected


@pytest.mark.parametrize("level", ["", "system.slice", "system.slice/longtail.service"])
def test_the_lowest_limit_of_all_levels_counts(tmp_path: Path, level: str) -> None:
    group(tmp_path / "mounted" / "system.slice/longtail.service", cpu__max="600000 100000\n")
    group(tmp_path / "mounted" / level, cpu__max="300000 100000\n")
    assert cores(tmp_path, "0::/system.slice/longtail.service\n") == 3


def test_a_group_beside_ours_does_not_count(tmp_path: Path) -> None:
    group(tmp_path / "mounted" / "other", cpu__max="100000 100000\n")
    group(tmp_path / "mounted" / "cpuset" / "ours", cpu__max="100000 100000\n")
    assert cores(tmp_path, "0::/ours\n3:cpuset:/ours\n") == 8


def test_without_files_all_cores_count(tmp_path: Path) -> None:
    assert usable_cores(8, tmp_path / "groups", tmp_path / "mounted") == 8


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_affinity_counts() -> None:
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from models.cores import CORES; "
    done = subprocess.run(
        [sys.executable, "-c", program + "print(CORES)"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"


def test_no_other_module_counts_cores_by_itself() -> None:
    counting = ("cpu_count", "sched_getaffinity")
    files = [file for part in ("models", "engines", "service", "training") for file in (ROOT / part).rglob("*.py")]
    assert [str(file.relative_to(ROOT)) for file in files if any(word in file.read_text() for word in counting)] == [
        "models/cores.py"
    ]
