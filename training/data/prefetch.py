"""The next things are made in the background while the present one is worked on.

Decoding pictures waits for files and for Pillow's own code, neither of which holds Python's lock; training on the
pictures before does not either. One after the other they take the sum of both times, side by side the longer one.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["prefetch"]

T = TypeVar("T")
_END: Any = object()


def prefetch(iterable: Iterable[T], depth: int = 1) -> Iterator[T]:
    """Yield what `iterable` yields, in its order, with up to `depth` items made ahead in one background thread.

    Nothing is made before the first item is asked for. At most `depth` items wait, besides the one the caller works on.
    What `iterable` draws at random must come from a generator that nobody else draws from meanwhile: then every item is
    the same as without the background.

    Args:
        iterable: runs in the background thread; a generator is closed there when the caller stops early.
        depth: items, at least 1.

    Raises:
        ValueError: depth is below 1. What `iterable` raises is raised here, where its item would have come.

    """
    if depth < 1:
        raise ValueError(f"depth {depth} is below 1; 1 makes one item ahead")
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
