"""Where to compute and how precisely, decided once and said aloud."""

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from training.errors import TrainingError

__all__ = [
    "check_compiling",
    "compiling",
    "describe_hardware",
    "keep_memory",
    "pick_device",
    "pick_precision",
    "set_threads",
]

# malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MAX_INT = 2**31 - 1


def pick_device(name: str, local_rank: int = 0, local_size: int = 1) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`; asking for a GPU that is not there is an error.

    Of several processes on a machine each takes the GPU of its number.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: torch sees no CUDA device here; use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and local_size > 1:
        if local_size > torch.cuda.device_count():
            raise TrainingError(
                f"{local_size} processes on this machine, which has {torch.cuda.device_count()} CUDA device(s); start "
                "one process for each, or use --device cpu"
            )
        return torch.device("cuda", local_rank)
    return torch.device(name)


def set_threads(threads: int | None, local_size: int) -> None:
    """Let torch use so many CPU threads; by default, processes on one machine share its cores.

    torchrun sets OMP_NUM_THREADS=1 where it is not set, so one's own number cannot be told from torchrun's: it is not
    looked at.
    """
    if threads is None and local_size > 1:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = max(1, cores // local_size)
    if threads is not None:
        torch.set_num_threads(threads)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Return float32 or bfloat16; `auto` takes bfloat16 where the hardware computes in it.

    A CPU without AVX512-BF16 or AMX emulates bfloat16: measured 13 times slower than float32 on an AVX2 machine
    (training/LOG.md), against twice as fast where it is native.
    """
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return torch.bfloat16 if native else torch.float32


def check_compiling(device: torch.device, precision: torch.dtype) -> None:
    """Refuse `--compile` where torch is known to compile wrongly.

    Raises:
        TrainingError: on a CPU in bfloat16; measured with torch 2.15 (training/LOG.md).

    """
    if device.type == "cpu" and precision == torch.bfloat16:
        raise TrainingError(
            "--compile: on a CPU, torch's compiled bfloat16 networks gave gradients that are no numbers; leave "
            "--compile away, or add --precision float32"
        )


@contextmanager
def compiling() -> Iterator[None]:
    """Say in a sentence what keeps torch from compiling inside.

    Raises:
        TrainingError: such as that there is no C++ compiler; in this process, where there are several.

    """
    from torch._dynamo.exc import ShortenTraceback  # noqa: PLC0415  loads the compiler; parent of all that it raises

    try:
        yield
    except ShortenTraceback as error:
        lines = [line for line in str(error).splitlines() if line and not line.endswith("raised:")]
        raise TrainingError(
            f"--compile: torch cannot compile the network here ({(lines or [type(error).__name__])[0]}); leave "
            "--compile away (it needs g++ on a CPU, and triton and a C compiler on a GPU)"
        ) from error


def keep_memory() -> bool:
    """Let the C library keep what a training step frees for the next one; say whether it can.

    glibc gives large blocks back to the system as soon as they are free. The next step then gets pages that the system
    has to clear first, all of its activations and gradients anew.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    settings = ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, _MAX_INT))
    return mallopt is not None and all(mallopt(name, value) == 1 for name, value in settings)


def describe_hardware(device: torch.device) -> str:
    """Return the processor's name and how much of it is used, for logs and model cards."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if cpuinfo.exists()
        else []
    )
    return f"{names[0] if names else platform.processor() or platform.machine()}, {torch.get_num_threads()} thread(s)"
