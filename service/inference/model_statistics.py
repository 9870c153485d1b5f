"""What one version of a model has done since it was loaded, in the units of Triton's statistics extension.

The Prometheus metrics (`metrics.py`) are distributions over all processes, for people who watch dashboards. These
statistics are counts and nanoseconds of one loaded version in one process, for clients that compare two readings, such
as Triton's perf_analyzer.

Requests count in `success` and `fail`. Everything else counts images, since the images of one request may be computed
in several batches. `queue` counts every image, also one whose output is in the cache; the stages count the images that
are computed. Every image waits for its whole batch, so a batch of B images adds B times its duration to
`inference_stats`, and once its duration to `batch_stats`.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["ModelStatistics"]

_STAGES = ("compute_input", "compute_infer", "compute_output")


class ModelStatistics:
    """Counts and durations. Every method may be called from any thread and takes about a microsecond.

    Args:
        clock: returns seconds since 1970.

    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last_inference = 0.0
        self._images = 0
        self._batches = 0
        names = ("success", "fail", "queue", *_STAGES, "cache_hit", "cache_miss")
        self._durations = {name: [0, 0] for name in names}  # count, nanoseconds
        self._by_size: dict[int, list[int]] = {}  # images in a batch -> batches, nanoseconds of each stage

    def add_success(self, ns: int) -> None:
        """Count a request that was answered after this many nanoseconds."""
        self._add("success", ns)

    def add_failure(self, ns: int) -> None:
        """Count a request that was refused or failed after its model was known."""
        self._add("fail", ns)

    def add_cache_hit(self, ns: int) -> None:
        """Count an image whose output was in the cache, and the duration of the lookup; it queued for 0 ns.

        Triton counts so too, and its perf_analyzer finds the version that it measures by the growth of `queue`.

        """
        now = self._clock()
        with self._lock:
            self._last_inference = now
            _add(self._durations["cache_hit"], 1, ns)
            _add(self._durations["queue"], 1, 0)

    def add_joined(self) -> None:
        """Count an image that waits for the same picture of another request; its own wait in the queue is 0 ns."""
        self._add("queue", 0)

    def add_cache_miss(self, ns: int) -> None:
        """Count an image whose output was not in the cache, and the duration of the lookup."""
        self._add("cache_miss", ns)

    def add_batch(
        self, *, images: int, queue_ns: int, compute_input_ns: int, compute_infer_ns: int, compute_output_ns: int
    ) -> None:
        """Count a batch that was computed.

        Args:
            images: number of images in the batch.
            queue_ns: the time they spent in the queue, summed over the images.
            compute_input_ns: decoding, for the batch as a whole, like the two below.
            compute_infer_ns: running the network.
            compute_output_ns: computing the answers from its output.

        """
        durations = (compute_input_ns, compute_infer_ns, compute_output_ns)
        now = self._clock()
        with self._lock:
            self._last_inference = now
            self._images += images
            self._batches += 1
            _add(self._durations["queue"], images, queue_ns)
            for name, duration in zip(_STAGES, durations, strict=True):
                _add(self._durations[name], images, duration * images)
            of_size = self._by_size.setdefault(images, [0, 0, 0, 0])
            for index, value in enumerate((1, *durations)):
                of_size[index] += value

    def snapshot(self) -> dict[str, Any]:
        """Return everything as of one moment, in the form of the statistics extension."""
        with self._lock:
            return {
                "last_inference": int(self._last_inference * 1000),  # milliseconds since 1970
                "inference_count": self._images,
                "execution_count": self._batches,
                "inference_stats": {name: _duration(*pair) for name, pair in self._durations.items()},
                "batch_stats": [
                    {"batch_size": size}
                    | {name: _duration(count, ns) for name, ns in zip(_STAGES, stages, strict=True)}
                    for size, (count, *stages) in sorted(self._by_size.items())
                ],
            }

    def _add(self, name: str, ns: int) -> None:
        with self._lock:
            _add(self._durations[name], 1, ns)


def _add(duration: list[int], count: int, ns: int) -> None:
    duration[0] += count
    duration[1] += ns


def _duration(count: int, ns: int) -> dict[str, int]:
    return {"count": count, "ns": ns}
