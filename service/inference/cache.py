"""A cache of network outputs, for pictures that are sent again, at whatever alpha.

An entry holds the network output, logits and head cosine, from which the answer at every alpha, prior and top_k is
computed. The key consists of a SHA-256 of the picture's bytes, so a client cannot construct two pictures that share an
entry, and of the number of the loaded model, so a bundle that is loaded again never meets old entries. The cache is
bounded in bytes and evicts the least recently used entry first; this removes a model that was unloaded, too. It is for
the event loop only.
"""

import hashlib
import sys
import time
from collections import OrderedDict

import numpy as np

from service.inference.network_output import NetworkOutput
from service.inference.registry import ServedModel
from service.metrics import Metrics

__all__ = ["CacheKey", "ResponseCache"]

CacheKey = tuple[int, bytes]  # the model's number, the picture's SHA-256
# What Python needs for an entry besides the arrays' data.
_ENTRY_BYTES = 2 * sys.getsizeof(np.empty(0, np.float32)) + sys.getsizeof(b"") + 32 + 400


class ResponseCache:
    """The network outputs of recent pictures.

    Args:
        max_bytes: maximum size, including Python's own overhead; 0 disables the cache.
        metrics: counts hits and misses, and shows the size.

    """

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._entries: OrderedDict[CacheKey, NetworkOutput] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    @property
    def held_bytes(self) -> int:
        """The size of all entries, in bytes."""
        return self._bytes

    def key(self, served: ServedModel, data: bytes) -> CacheKey | None:
        """Return the key of a picture's entry; None if the cache is disabled."""
        if not self._max_bytes:
            return None
        return served.number, hashlib.sha256(data).digest()

    def get(self, served: ServedModel, key: CacheKey) -> NetworkOutput | None:
        """Return the model's output for a picture, or None if there is no entry."""
        started = time.perf_counter_ns()
        output = self._entries.get(key)
        if output is None:
            self._metrics.cache_lookups.labels(served.name, "miss").inc()
            served.statistics.add_cache_miss(time.perf_counter_ns() - started)
            return None
        self._entries.move_to_end(key)
        self._metrics.cache_lookups.labels(served.name, "hit").inc()
        served.statistics.add_cache_hit(time.perf_counter_ns() - started)
        return output

    def put(self, key: CacheKey, output: NetworkOutput) -> None:
        """Add an entry, and evict the least recently used ones if the cache is full."""
        size = _size(output)
        if size > self._max_bytes or key in self._entries:
            return
        # Copies, since a row would keep the arrays of its whole batch alive.
        self._entries[key] = NetworkOutput(output.logits.copy(), output.head_cosine.copy())
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._bytes -= _size(self._entries.popitem(last=False)[1])
        self._metrics.cache_bytes.set(self._bytes)


def _size(output: NetworkOutput) -> int:
    return output.logits.nbytes + output.head_cosine.nbytes + _ENTRY_BYTES
