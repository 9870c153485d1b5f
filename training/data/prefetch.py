"""Computing the next items in the background while the caller works on the current one.

Decoding pictures waits for files and for Pillow's C code, and training waits for torch. None of them holds Python's
global lock. One after the other they take the sum of both times; side by side they take the longer one.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["prefetch"]

T = TypeVar("T")
_END: Any = object()  # a sentinel of any item type


def prefetch(iterable: Iterable[T], depth: int = 1) -> Iterator[T]:
    """Yield the items of `iterable` in order, computing up to `depth` items ahead in one background thread.

    Nothing is computed before the caller asks for the first item. At most `depth` items wait, besides the one that the
    caller works on. If `iterable` draws random numbers, its generator must not be used elsewhere meanwhile; the items
    are then the same as without the background thread.

    Args:
        iterable: iterated in the background thread; a generator is closed there if the caller stops early.
        depth: items, at least 1.

    Raises:
        ValueError: depth is below 1. An exception of `iterable` is raised in place of its item.

    """
    if depth < 1:
        raise ValueError(f"depth {depth} is below 1; 1 computes one item ahead")
    return _ahead(iter(iterable), depth)


def _ahead(source: Iterator[T], depth: int) -> Iterator[T]:
    with ThreadPoolExecutor(1, "prefetch") as thread:
        waiting: deque[Future[T]] = deque(thread.submit(next, source, _END) for _ in range(depth))
        try:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(thread.submit(next, source, _END))
                yield item
        finally:
            for future in waiting:
                future.cancel()
            thread.submit(getattr(source, "close", lambda: None)).result()
