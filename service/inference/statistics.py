"""What one version of a model has done since it was loaded, in the units of Triton's statistics extension.

Prometheus (`metrics.py`) has distributions, of all processes together, for people who watch; this has counts and
nanoseconds of one loaded version in one process, for clients that take the difference of two readings, as Triton's
perf_analyzer does.

Requests count in `success` and `fail`; all else counts images, as those of one request may be computed in several
batches. An image waits for its whole batch, so a batch of B adds B times its duration to `inference_stats`, and once to
`batch_stats`.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["ModelStatistics"]

_STAGES = ("compute_input", "compute_infer", "compute_output")


class ModelStatistics:
    """Counts and durations; every method may be called from any thread, and costs about a microsecond.

    Args:
        clock: seconds since 1970.

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

    def success(self, ns: int) -> None:
        """Count a request that was answered, and how long it took in nanoseconds."""
        self._add("success", ns)

    def fail(self, ns: int) -> None:
        """Count a request that was refused or failed, once its model was known."""
        self._add("fail", ns)

    def cache_hit(self, ns: int) -> None:
        """Count an image whose numbers were there already, and how long finding them took."""
        self._add("cache_hit", ns)
        self._last_inference = self._clock()

    def cache_miss(self, ns: int) -> None:
        """Count an image whose numbers had to be computed, and how long looking for them and keeping them took."""
        self._add("cache_miss", ns)

    def batch(
        self, *, images: int, queue_ns: int, compute_input_ns: int, compute_infer_ns: int, compute_output_ns: int
    ) -> None:
        """Count a batch that was computed.

        Args:
            images: in the batch.
            queue_ns: how long they waited for it, added up over the images.
            compute_input_ns: making the network's input of them, of the batch as a whole, as all that follow.
            compute_infer_ns: running the network.
            compute_output_ns: taking its output apart.

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
        """Return all of it, of one moment, as the statistics extension writes it."""
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
