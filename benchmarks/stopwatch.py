"""Seconds of training work: the processor's or the clock's, a GPU's work included."""

import time
from collections.abc import Callable

import torch

__all__ = ["by_processor", "now", "repeat", "seconds_of", "wait"]


def wait(device: torch.device) -> None:
    """Let a GPU finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def now(device: torch.device) -> float:
    """Seconds: the processor's where one thread does all the work, else the clock's."""
    return time.process_time() if by_processor(device) else time.perf_counter()


def by_processor(device: torch.device) -> bool:
    """Whether one thread does all the work."""
    return device.type == "cpu" and torch.get_num_threads() == 1


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Time one call."""
    wait(device)
    started = now(device)
    work()
    wait(device)
    return now(device) - started


def repeat(work: Callable[[], object], times: int) -> None:
    """Do it so often."""
    for _ in range(times):
        work()
