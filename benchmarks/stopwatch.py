"""Time training work in processor seconds or wall-clock seconds, including work on a GPU."""

import time
from collections.abc import Callable

import torch

__all__ = ["by_processor", "now", "repeat", "seconds_of", "wait"]


def wait(device: torch.device) -> None:
    """Wait until a GPU has finished its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def now(device: torch.device) -> float:
    """Return seconds: processor time if one thread does all the work, else wall-clock time."""
    return time.process_time() if by_processor(device) else time.perf_counter()


def by_processor(device: torch.device) -> bool:
    """Return whether one CPU thread does all the work."""
    return device.type == "cpu" and torch.get_num_threads() == 1


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that one call takes."""
    wait(device)
    started = now(device)
    work()
    wait(device)
    return now(device) - started


def repeat(work: Callable[[], object], times: int) -> None:
    """Call `work` `times` times."""
    for _ in range(times):
        work()
