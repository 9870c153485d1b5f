"""What is counted, for Prometheus. Names carry units; labels are models, codes and stages, never what a client sent.

With several server processes (`--workers`) each writes its figures to files in PROMETHEUS_MULTIPROC_DIR, and whichever
process answers /metrics adds them up, so that the figures are the service's and not one process's.
"""

import os
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest, multiprocess
from prometheus_client.registry import Collector

__all__ = ["MULTIPROCESS_VARIABLE", "Metrics"]

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Stages(NamedTuple):
    """One model's histograms."""

    decode: Histogram
    queue: Histogram
    inference: Histogram
    alpha: Histogram
    render: Histogram
    batch_images: Histogram
    images: Counter
    head_cosine: Summary


class Metrics:
    """The service's counters, one registry per app."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        # Labels: route is the template, not the path.
        self.requests = Counter("longtail_requests", "Requests answered.", ["route", "status"], registry=registry)
        self.request_seconds = _times(
            "longtail_request_seconds", "From the first byte to the answer.", ["route"], registry
        )
        self.errors = Counter("longtail_errors", "Error answers, by code.", ["code"], registry=registry)
        self.connections = _sum("longtail_connections", "Connections open.", registry)
        self.body_bytes = _sum("longtail_body_bytes", "Request bodies and answers in memory.", registry)

        self.images = Counter("longtail_images", "Images classified.", ["model"], registry=registry)
        self.image_errors = Counter(
            "longtail_image_errors", "Images refused, by code.", ["model", "code"], registry=registry
        )
        self.pending_images = _sum("longtail_pending_images", "Images accepted and not answered yet.", registry)
        self.pending_images_limit = _sum(
            "longtail_pending_images_limit", "The most images accepted and not answered.", registry
        )
        stages = "One image in decode or queue, one batch in inference or alpha, one request in render."
        self.stage_seconds = _times("longtail_stage_seconds", stages, ["model", "stage"], registry)
        self.batch_images = Histogram(
            "longtail_batch_images", "Images per batch.", ["model"], buckets=IMAGES, registry=registry
        )
        leaning = "How far an image leans to the head direction, mean over the heads."
        self.head_cosine = Summary("longtail_head_cosine", leaning, ["model"], registry=registry)

        dropped = "Results not kept for feedback: the database was away."
        self.results_dropped = Counter("longtail_results_dropped", dropped, ["model"], registry=registry)
        looked_up = "Images looked up in the response cache, by what came of it."
        self.cache_lookups = Counter("longtail_cache_lookups", looked_up, ["model", "outcome"], registry=registry)
        self.cache_bytes = _sum("longtail_cache_bytes", "Memory that the response cache takes.", registry)

        self.models = Gauge("longtail_models", "Models in service.", registry=registry, multiprocess_mode="livemin")
        self.model_loads = Counter(
            "longtail_model_loads", "Bundles that were loaded or refused.", ["model", "outcome"], registry=registry
        )

        self._stages: dict[str, Stages] = {}
        self._answers: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._shared: list[Collector] = []

    def stages(self, model: str) -> "Stages":
        """Return what counts a model's batches, looked up once."""
        found = self._stages.get(model)
        if found is None:
            names = ("decode", "queue", "inference", "alpha", "render")
            decode, queue, inference, alpha, render = (self.stage_seconds.labels(model, name) for name in names)
            counts = self.batch_images.labels(model), self.images.labels(model), self.head_cosine.labels(model)
            found = self._stages[model] = Stages(decode, queue, inference, alpha, render, *counts)
        return found

    def count_answer(self, route: str, status: int, seconds: float) -> None:
        """Count an answer of a route (its template, not the path), and how long it took."""
        found = self._answers.get((route, status))
        if found is None:
            found = self.requests.labels(route, status), self.request_seconds.labels(route)
            self._answers[route, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def add_shared(self, collector: Collector) -> None:
        """Show what a collector knows of something all processes share; whichever answers /metrics speaks for all."""
        self._shared.append(collector)
        self._registry.register(collector)

    def render(self) -> bytes:
        """Return the Prometheus text format, of all processes together."""
        if MULTIPROCESS_VARIABLE not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        for collector in self._shared:
            registry.register(collector)
        return generate_latest(registry)


def _times(name: str, text: str, labels: list[str], registry: CollectorRegistry) -> Histogram:
    return Histogram(name, text, labels, buckets=SECONDS, registry=registry)


def _sum(name: str, text: str, registry: CollectorRegistry) -> Gauge:
    """Return a gauge that is added up over the processes that live."""
    return Gauge(name, text, registry=registry, multiprocess_mode="livesum")
