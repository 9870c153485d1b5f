"""The executor for queries about many labels: one runs at a time, a few wait, and the server refuses more.

Such a query reads up to a million labels and computes a step function of alpha, which takes seconds and hundreds of
megabytes. Several at once would slow down classification and new labels.
"""

from service.bounded_executor import BoundedExecutor
from service.errors import OverloadedError

__all__ = ["MAX_HEAVY_QUERIES", "heavy_query_executor"]

MAX_HEAVY_QUERIES = 4  # running and waiting


def heavy_query_executor() -> BoundedExecutor:
    """Return an executor with one thread, which refuses queries with an OverloadedError."""
    return BoundedExecutor("heavy-queries", threads=1, max_tasks=MAX_HEAVY_QUERIES, refusal=_too_many)


def _too_many() -> OverloadedError:
    return OverloadedError(f"{MAX_HEAVY_QUERIES} queries about many labels are running or waiting; retry in a moment")
