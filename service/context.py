"""The parts of a running service, built once per application. Routes reach them through the request."""

import asyncio
import time
from dataclasses import dataclass, field

from fastapi import Request

from service.access.authorization import Access
from service.bounded_executor import BoundedExecutor
from service.catalog.catalog import Catalog
from service.catalog.networks import Networks
from service.errors import NotLiveError, NotReadyError
from service.feedback.drift import DriftMonitor
from service.feedback.kept_results import KeptResults
from service.feedback.store import FeedbackStore
from service.inference.admission import BodyBudget
from service.inference.registry import Registry
from service.inference.worker import Worker
from service.jobs.runner import JobRunner
from service.metrics import Metrics
from service.settings import Settings
from service.storage.database import Database
from service.storage.operating_points import OperatingPoints

__all__ = ["Context", "Lifecycle", "context_of", "request_id_of"]


@dataclass
class Lifecycle:
    """The state of this server process: starting, ready, draining, or failed.

    Attributes:
        started: every part has been started.
        draining: the process is shutting down; it finishes accepted requests.
        failure: why the process must be replaced; None while it is healthy.
        failed_at: when the failure was found, in seconds on the monotonic clock.
        closed_to_new_work: set once the server accepts no new requests.

    """

    started: bool = False
    draining: bool = False
    failure: str | None = None
    failed_at: float = 0.0
    closed_to_new_work: asyncio.Event = field(default_factory=asyncio.Event)

    def fail(self, reason: str) -> None:
        """Record that this process must be replaced; only the first reason is kept."""
        if self.failure is None:
            self.failure = reason
            self.failed_at = time.monotonic()

    @property
    def ready(self) -> bool:
        """Whether the process accepts requests."""
        return self.started and not self.draining and self.failure is None


@dataclass(frozen=True)
class Context:
    """The parts of a running service."""

    settings: Settings
    registry: Registry
    catalog: Catalog
    worker: Worker
    body_budget: BodyBudget
    metrics: Metrics
    lifecycle: Lifecycle
    database: Database
    networks: Networks
    operating_points: OperatingPoints
    results: KeptResults
    feedback: FeedbackStore
    drift_monitor: DriftMonitor
    jobs: JobRunner
    heavy_queries: BoundedExecutor
    access: Access

    def check_alive(self) -> None:
        """Check that this process is healthy.

        Raises:
            NotLiveError: the process must be replaced; the message says why.

        """
        if self.lifecycle.failure is not None:
            raise NotLiveError(f"{self.lifecycle.failure}; this process exits soon, to be replaced")

    def check_ready(self) -> None:
        """Check that this process accepts requests.

        Raises:
            NotLiveError: the process must be replaced; the message says why.
            NotReadyError: the server is starting or stopping, or no model is in service; the message says which.

        """
        self.check_alive()
        if not self.lifecycle.ready:
            raise NotReadyError("the server is starting or stopping")
        if not any(self.registry):
            raise NotReadyError(self.catalog.why_no_model())

    @property
    def is_ready(self) -> bool:
        """Whether the process accepts requests and has a model in service."""
        return self.lifecycle.ready and any(self.registry)


def context_of(request: Request) -> Context:
    """Return the context of the application that received the request."""
    context: Context = request.scope["longtail.context"]
    return context


def request_id_of(request: Request) -> str:
    """Return the request's id: the client's `X-Request-ID`, or a generated one."""
    request_id: str = request.scope["state"]["request_id"]
    return request_id
