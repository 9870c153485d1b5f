"""The process keeps memory that a step frees, and errors of torch's compiler become one sentence."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed
from torch._inductor.exc import InductorError, TritonMissing

from training.errors import TrainingError
from training.run.device import check_compiling, compiling

ROOT = Path(__file__).parents[3]
STEP = """
import sys
import torch
from training.run.device import keep_memory

def resident_mb():
    fields = open("/proc/self/statm").read().split()
    return int(fields[1]) * 4096 / 2**20

kept = keep_memory() if sys.argv[1] == "keep" else None
before = resident_mb()
tensor = torch.ones(100 << 18)  # 100 MB
del tensor
print(kept, resident_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the option is glibc's")
@pytest.mark.parametrize(("how", "kept"), [("keep", True), ("plain", None)])
def test_the_process_keeps_memory_that_a_step_frees(how: str, kept: bool | None) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STEP, how], cwd=ROOT, check=True, capture_output=True, text=True, timeout=100
    )
    said, grown = done.stdout.split()
    assert said == str(kept)
    assert (float(grown) > 90.0) is bool(kept)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InductorError(RuntimeError("no compiler\nat all"), None), "(RuntimeError: no compiler)"),
        (BackendCompilerFailed("inductor", RuntimeError("a bug"), None), "(RuntimeError: a bug)"),
        (TritonMissing(None), "(Cannot find a working triton installation."),
    ],
)
def test_an_error_of_the_compiler_becomes_one_sentence(error: Exception, said: str) -> None:
    with pytest.raises(TrainingError, match=r"--compile: torch cannot compile") as caught, compiling():
        raise error
    assert said in str(caught.value)


def test_only_bfloat16_on_a_cpu_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"or add --precision float32"):
        check_compiling(torch.device("cpu"), torch.bfloat16)
    check_compiling(torch.device("cpu"), torch.float32)
    check_compiling(torch.device("cuda"), torch.bfloat16)
