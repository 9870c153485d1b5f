"""The service's Prometheus metrics. Names carry units; labels are models, routes and codes, never a client's input.

With several server processes (`--workers`) each process writes its figures to files in PROMETHEUS_MULTIPROC_DIR, and
the process that answers /metrics adds them up.
"""

import os
from pathlib import Path
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Summary,
    disable_created_metrics,
    multiprocess,
)
from prometheus_client.registry import Collector

from service.metrics_format import TEXT, MetricsFormat
from service.process_metrics import Processes

__all__ = ["MULTIPROCESS_VARIABLE", "Metrics"]

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# One more series for each counter and histogram, which no query of the dashboard or the alerts needs.
disable_created_metrics()  # type: ignore[no-untyped-call]
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Stages(NamedTuple):
    """The metrics of one model's batches."""

    decode: Histogram
    queue: Histogram
    inference: Histogram
    alpha: Histogram
    render: Histogram
    batch_images: Histogram
    images: Counter
    head_distance: Summary


class Metrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        # The label `route` is the route's template, not the path of the request.
        self.requests = Counter("longtail_requests", "Requests answered.", ["route", "status"], registry=registry)
        self.request_seconds = _times(
            "longtail_request_seconds", "Time from the first byte of a request to its answer.", ["route"], registry
        )
        self.errors = Counter("longtail_errors", "Error answers, by code.", ["code"], registry=registry)
        self.connections = _sum("longtail_connections", "Open connections.", registry)
        self.body_bytes = _sum(
            "longtail_body_bytes", "Request bodies, and answers that clients have not read yet, in memory.", registry
        )

        self.images = Counter("longtail_images", "Pictures classified.", ["model"], registry=registry)
        self.image_errors = Counter(
            "longtail_image_errors", "Pictures refused, by code.", ["model", "code"], registry=registry
        )
        self.pending_images = _sum("longtail_pending_images", "Pictures accepted and not answered yet.", registry)
        self.pending_images_limit = _sum(
            "longtail_pending_images_limit",
            "Maximum number of pictures accepted and not answered yet, over all processes.",
            registry,
        )
        stages = "Time of one picture in decode or queue, of one batch in inference or alpha, of one request in render."
        self.stage_seconds = _times("longtail_stage_seconds", stages, ["model", "stage"], registry)
        self.batch_images = Histogram(
            "longtail_batch_images", "Images in a batch.", ["model"], buckets=IMAGES, registry=registry
        )
        # The distance instead of the cosine: a sum that could fall would break `rate` and OpenMetrics.
        distance = "1 - the cosine between an image's feature and the head direction, mean over the heads; 0 to 2."
        self.head_distance = Summary("longtail_head_distance", distance, ["model"], registry=registry)

        dropped = "Results that feedback cannot refer to, because the database was unavailable."
        self.results_dropped = Counter("longtail_results_dropped", dropped, ["model"], registry=registry)
        looked_up = "Pictures looked up in the response cache, by outcome: hit or miss."
        self.cache_lookups = Counter("longtail_cache_lookups", looked_up, ["model", "outcome"], registry=registry)
        self.cache_bytes = _sum("longtail_cache_bytes", "Memory used by the response cache.", registry)

        self.models = Gauge("longtail_models", "Models in service.", registry=registry, multiprocess_mode="livemin")
        self.model_loads = Counter(
            "longtail_model_loads", "Bundles loaded or refused, by outcome.", ["model", "outcome"], registry=registry
        )

        self._stages: dict[str, Stages] = {}
        self._answers: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._shared: list[Collector] = []
        folder = os.environ.get(MULTIPROCESS_VARIABLE)
        self.add_shared(Processes(None if folder is None else Path(folder)))

    def stages(self, model: str) -> "Stages":
        """Return the metrics of a model's batches; the labels are looked up once."""
        found = self._stages.get(model)
        if found is None:
            names = ("decode", "queue", "inference", "alpha", "render")
            decode, queue, inference, alpha, render = (self.stage_seconds.labels(model, name) for name in names)
            counts = self.batch_images.labels(model), self.images.labels(model), self.head_distance.labels(model)
            found = self._stages[model] = Stages(decode, queue, inference, alpha, render, *counts)
        return found

    def count_answer(self, route: str, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            route: the route's template, not the path of the request.
            status: the HTTP status.
            seconds: from the first byte of the request to the answer.

        """
        found = self._answers.get((route, status))
        if found is None:
            found = self.requests.labels(route, status), self.request_seconds.labels(route)
            self._answers[route, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def add_shared(self, collector: Collector) -> None:
        """Add a collector of figures that all processes share; the process that answers /metrics collects them."""
        self._shared.append(collector)
        self._registry.register(collector)

    def render(self, form: MetricsFormat = TEXT) -> bytes:
        """Return the metrics of all processes in a format."""
        if MULTIPROCESS_VARIABLE not in os.environ:
            return form.write(self._registry)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        for collector in self._shared:
            registry.register(collector)
        return form.write(registry)


def _times(name: str, text: str, labels: list[str], registry: CollectorRegistry) -> Histogram:
    return Histogram(name, text, labels, buckets=SECONDS, registry=registry)


def _sum(name: str, text: str, registry: CollectorRegistry) -> Gauge:
    """Return a gauge whose value is the sum over all live processes."""
    return Gauge(name, text, registry=registry, multiprocess_mode="livesum")
