"""The answers of the network that are kept for when the same picture comes again, whatever alpha it comes with.

What is kept is the network's answer, logits and head cosine, not a response: every alpha, every prior and every top_k
is worked out from it. The key is a SHA-256 of the picture's bytes and the model that answered (the very one that was
loaded, so a new bundle under an old version never meets old answers), so nobody can make two pictures collide. Bounded
in bytes; what was not asked for longest goes first, a model's that went out of service too. For the event loop only.
"""

import hashlib
import sys
import time
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from engines.base import Float
from service.inference.registry import ServedModel
from service.metrics import Metrics

__all__ = ["Key", "NetworkOutput", "ResponseCache"]


class NetworkOutput(NamedTuple):
    """What the network says of one picture: (C,) logits at alpha 0, (K,) head cosine; of a batch, (B, C) and (B, K)."""

    logits: Float
    head_cosine: Float


Key = tuple[int, bytes]  # the model's number, the picture's SHA-256
_ENTRY_BYTES = 2 * sys.getsizeof(np.empty(0, np.float32)) + sys.getsizeof(b"") + 32 + 400  # what an entry costs beside


class ResponseCache:
    """The network's answers by picture.

    Args:
        max_bytes: room for them, what Python needs to hold them included; 0 keeps none.
        metrics: where hits, misses and what is held are counted.

    """

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._held: OrderedDict[Key, NetworkOutput] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        """Return how many answers are held."""
        return len(self._held)

    @property
    def held_bytes(self) -> int:
        """How much they take."""
        return self._bytes

    def key(self, served: ServedModel, data: bytes) -> Key | None:
        """Return what a picture's answer is held under; None where none are held."""
        if not self._max_bytes:
            return None
        return served.number, hashlib.sha256(data).digest()

    def get(self, served: ServedModel, key: Key) -> NetworkOutput | None:
        """Return the model's answer to a picture it has seen, or None."""
        started = time.perf_counter_ns()
        numbers = self._held.get(key)
        if numbers is None:
            self._metrics.cache_lookups.labels(served.name, "miss").inc()
            served.statistics.cache_miss(time.perf_counter_ns() - started)
            return None
        self._held.move_to_end(key)
        self._metrics.cache_lookups.labels(served.name, "hit").inc()
        served.statistics.cache_hit(time.perf_counter_ns() - started)
        return numbers

    def put(self, key: Key, numbers: NetworkOutput) -> None:
        """Hold an answer, and let go of the oldest that there is no room for beside it."""
        size = _size(numbers)
        if size > self._max_bytes or key in self._held:
            return
        self._held[key] = NetworkOutput(numbers.logits.copy(), numbers.head_cosine.copy())  # not a row of a whole batch
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._bytes -= _size(self._held.popitem(last=False)[1])
        self._metrics.cache_bytes.set(self._bytes)


def _size(numbers: NetworkOutput) -> int:
    return numbers.logits.nbytes + numbers.head_cosine.nbytes + _ENTRY_BYTES
