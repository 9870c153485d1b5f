"""Choose the device, the precision and the number of threads to compute with."""

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from models.cores import CORES
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
    """Return the device to compute on.

    Args:
        name: `auto`, `cpu` or `cuda`; `auto` is a GPU if there is one.
        local_rank: this process's number on its machine, which is also the number of its GPU.
        local_size: how many processes run on the machine.

    Raises:
        TrainingError: there is no GPU, or fewer GPUs than processes.

    """
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: torch sees no CUDA device; use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and local_size > 1:
        if local_size > torch.cuda.device_count():
            raise TrainingError(
                f"{local_size} processes on a machine with {torch.cuda.device_count()} CUDA device(s); start one "
                "process per device, or use --device cpu"
            )
        return torch.device("cuda", local_rank)
    return torch.device(name)


def set_threads(threads: int | None, local_size: int) -> None:
    """Set torch's number of CPU threads.

    OMP_NUM_THREADS is ignored: torchrun sets it to 1 if it is unset, so a user's own value cannot be recognised.

    Args:
        threads: the number; None lets the processes of a machine share the usable cores. torch itself takes account of
            no container's limit.
        local_size: how many processes run on the machine.

    """
    if threads is None and (local_size > 1 or torch.get_num_threads() > CORES):
        threads = max(1, CORES // local_size)
    if threads is not None:
        torch.set_num_threads(threads)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Return float32 or bfloat16; `auto` is bfloat16 if the hardware supports it natively.

    A CPU without AVX512-BF16 or AMX emulates bfloat16, which was measured to be 13 times slower than float32 on an AVX2
    machine; native bfloat16 is twice as fast as float32 (training/LOG.md).
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
    """Refuse `--compile` if torch is known to compile incorrectly.

    Raises:
        TrainingError: on a CPU in bfloat16, as measured with torch 2.15 (training/LOG.md).

    """
    if device.type == "cpu" and precision == torch.bfloat16:
        raise TrainingError(
            "--compile: on a CPU, bfloat16 networks that torch compiles have NaN gradients; omit --compile, or add "
            "--precision float32"
        )


@contextmanager
def compiling() -> Iterator[None]:
    """Turn an error of torch's compiler into one sentence.

    Raises:
        TrainingError: for example if there is no C++ compiler; only in the process where it happens.

    """
    from torch._dynamo.exc import ShortenTraceback  # noqa: PLC0415  loads the compiler; its errors' base class

    try:
        yield
    except ShortenTraceback as error:
        lines = [line for line in str(error).splitlines() if line and not line.endswith("raised:")]
        raise TrainingError(
            f"--compile: torch cannot compile the network here ({(lines or [type(error).__name__])[0]}); omit "
            "--compile, or install what it needs: g++ on a CPU, triton and a C compiler on a GPU"
        ) from error


def keep_memory() -> bool:
    """Let the C library keep freed memory for the next training step; return whether it can.

    By default glibc returns large blocks to the system as soon as they are freed. The system then has to clear new
    pages for all activations and gradients of every step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    settings = ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, _MAX_INT))
    return mallopt is not None and all(mallopt(name, value) == 1 for name, value in settings)


def describe_hardware(device: torch.device) -> str:
    """Return the processor's name and the number of threads in use, for logs and model cards."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if cpuinfo.exists()
        else []
    )
    return f"{names[0] if names else platform.processor() or platform.machine()}, {torch.get_num_threads()} thread(s)"
