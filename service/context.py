"""What every route needs, made once per app and reached through the request."""

import asyncio
import time
from dataclasses import dataclass, field

from fastapi import Request

from service.access.authorization import Access
from service.catalog.catalog import Catalog
from service.catalog.networks import Networks
from service.errors import NotLiveError, NotReadyError
from service.feedback.drift import DriftMonitor
from service.feedback.kept_results import KeptResults
from service.feedback.store import FeedbackStore
from service.inference.admission import BodyBudget
from service.inference.registry import Registry
from service.inference.worker import Worker
from service.jobs.heavy_work import Line
from service.jobs.runner import Jobs
from service.metrics import Metrics
from service.settings import Settings
from service.storage.database import Database
from service.storage.operating_points import OperatingPoints

__all__ = ["Context", "Lifecycle", "context_of", "request_id_of"]


@dataclass
class Lifecycle:
    """Where the server is in its life: it answers while `started`, and is ready until it is `draining` or has failed.

    Attributes:
        failure: what is beyond mending in this process; None as long as it is well.
        failed_at: when that was found, on the monotonic clock.
        leave: set when nothing new is taken any more.

    """

    started: bool = False
    draining: bool = False
    failure: str | None = None
    failed_at: float = 0.0
    leave: asyncio.Event = field(default_factory=asyncio.Event)

    def fail(self, reason: str) -> None:
        """Say that this process is to be replaced; the first reason stays."""
        if self.failure is None:
            self.failure = reason
            self.failed_at = time.monotonic()

    @property
    def ready(self) -> bool:
        """New work is welcome."""
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
    watch: DriftMonitor
    jobs: Jobs
    heavy: Line
    access: Access

    def check_alive(self) -> None:
        """Return where this process may go on.

        Raises:
            NotLiveError: it is to be replaced; the sentence says why.

        """
        if self.lifecycle.failure is not None:
            raise NotLiveError(f"{self.lifecycle.failure}; this process ends soon, to be replaced")

    def check_ready(self) -> None:
        """Return where new work is welcome.

        Raises:
            NotLiveError: see above.
            NotReadyError: the server is starting or stopping, or no model is in service; the sentence says why.

        """
        self.check_alive()
        if not self.lifecycle.ready:
            raise NotReadyError("the server is starting or stopping")
        if not any(self.registry):
            raise NotReadyError(self.catalog.why_none())

    @property
    def is_ready(self) -> bool:
        """New work is welcome."""
        return self.lifecycle.ready and any(self.registry)


def context_of(request: Request) -> Context:
    """Return the app's context."""
    context: Context = request.scope["longtail.context"]
    return context


def request_id_of(request: Request) -> str:
    """Return the id this request was given, or brought along."""
    request_id: str = request.scope["state"]["request_id"]
    return request_id
