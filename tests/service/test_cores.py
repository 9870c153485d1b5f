"""A container's CPU limit bounds the number of cores."""

from pathlib import Path

import pytest

from service.cores import usable_cores


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("250000 100000\n", 3),  # two and a half
        ("50000 100000\n", 1),
        ("9900000 100000\n", 8),
        ("100000 0\n", 8),
        ("", 8),
    ],
)
def test_a_limit_is_rounded_up_to_cores(tmp_path: Path, limit: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(limit)
    assert usable_cores(8, tmp_path / "cpu.max") == cores


def test_without_a_file_all_cores_count(tmp_path: Path) -> None:
    assert usable_cores(8, tmp_path / "cpu.max") == 8
