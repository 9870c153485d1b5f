"""Memory that a training step frees stays with the process, where the C library can be told so."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEP = """
import sys
import torch
from training.device import keep_memory

def resident_mb():
    fields = open("/proc/self/statm").read().split()
    return int(fields[1]) * 4096 / 2**20

kept = keep_memory() if sys.argv[1] == "keep" else None
before = resident_mb()
tensor = torch.ones(100 << 18)  # 100 MB
del tensor
print(kept, resident_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is told")
@pytest.mark.parametrize(("how", "kept"), [("keep", True), ("plain", None)])
def test_memory_that_a_step_frees_stays_with_the_process(how: str, kept: bool | None) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STEP, how], cwd=ROOT, check=True, capture_output=True, text=True, timeout=100
    )
    said, grown = done.stdout.split()
    assert said == str(kept)
    assert (float(grown) > 90.0) is bool(kept)
