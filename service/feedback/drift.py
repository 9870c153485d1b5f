"""Watches how alpha fares: what the labels that came back call for, against what is in force.

Every few seconds a thread reads the shared database, and /metrics shows what it found; requests never pay for it. Every
process watches the same database, so /metrics shows the figures of whichever process answers, and adds nothing up. A
figure that cannot be known (no labels, no pictures, no database) has no sample, rather than a zero.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from models.accuracy import GROUPS, LabelledIntervals
from models.objective import Objective
from models.optimum import optimum
from service.errors import StorageUnavailableError
from service.feedback.kept_results import KeptResults
from service.feedback.store import FeedbackStore, count_labels, read_intervals
from service.inference.registry import Registry, ServedModel
from service.storage.database import Database
from service.storage.operating_points import DEFAULT_ALPHA

__all__ = ["WATCH_SECONDS", "DriftMonitor"]

log = logging.getLogger("longtail.watch")
WATCH_SECONDS = 5.0
SHARE = 0.05  # of the time may go into looking, however many labels there are
CLOSE_SECONDS = 5.0
LIGHT_LABELS = 10_000  # an optimum of so many takes milliseconds


class Read(NamedTuple):
    """Rows that say how alpha fares: N labels, the newest, and how many there are; recent predictions.

    Args:
        counts: (C,) labels of each class.
        labels: (N,) class indices.
        intervals: (N, 2) where along alpha each wins.
        predictions: (M, 3), see KeptResults.predictions.

    """

    counts: NDArray[np.int64]
    labels: NDArray[np.int64]
    intervals: NDArray[np.float64]
    predictions: NDArray[np.int64]


class DriftMonitor(Collector):
    """Reads what feedback says of each model; a Prometheus collector of what it read last.

    Args:
        database: where labels and predictions are.
        registry: the models.
        feedback: their labels.
        results: their recent predictions.
        in_force: (model, name of an operating point) -> alpha.
        last: how many of the newest labels the optimum is of.
        interval: seconds between two looks.

    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        feedback: FeedbackStore,
        results: KeptResults,
        in_force: Callable[[ServedModel, str], float],
        *,
        last: int,
        interval: float = WATCH_SECONDS,
    ) -> None:
        self._database = database
        self._registry = registry
        self._feedback = feedback
        self._results = results
        self._in_force = in_force
        self._last = last
        self._interval = interval
        self._latest: Mapping[str, dict[str, Any]] = {}
        self._closing = threading.Event()
        self._in_trouble = False
        self._thread = threading.Thread(target=self._serve, name="watch", daemon=True)

    def start(self) -> None:
        """Start the thread that looks."""
        self._thread.start()

    def close(self) -> None:
        """End it; a database that hangs is not waited for."""
        self._closing.set()
        self._thread.join(CLOSE_SECONDS)

    def look(self) -> None:
        """Delete labels beyond those kept, and read the figures of all models once.

        Raises:
            StorageUnavailableError: the database is away; there are no figures then.

        """
        latest: Mapping[str, dict[str, Any]] = {}
        try:
            self._feedback.delete_old()
            latest = {served.name: self.summary(served) for served in self._registry}
        finally:
            self._latest = latest

    def summary(self, served: ServedModel, *, since: float | None = None, last: int | None = None) -> dict[str, Any]:
        """Return what the labels of a model say, as GET /v1/models/{model}/feedback answers it.

        Args:
            served: the model.
            since: only labels and pictures since then, in seconds since 1970.
            last: how many of the newest labels the optimum is of.

        Raises:
            StorageUnavailableError: the database is away.

        """
        read = self._database.run_sync(lambda connection: self.read(connection, served, since=since, last=last))
        return self.figures(served, read)

    def read(
        self, connection: Connection, served: ServedModel, *, since: float | None = None, last: int | None = None
    ) -> Read:
        """Return the rows that a summary is made of; what they say is worked out when the transaction has ended."""
        name = served.name
        version = served.bundle.manifest.version
        counts = count_labels(connection, name, version, len(served.bundle.manifest.classes), since)
        labels, intervals = read_intervals(connection, name, version, since, last or self._last)
        return Read(counts, labels, intervals, self._results.predictions(connection, name, version, since))

    def figures(self, served: ServedModel, read: Read) -> dict[str, Any]:
        """Return the summary of what was read."""
        groups = np.array([each.group for each in served.bundle.manifest.classes])
        alpha = self._in_force(served, DEFAULT_ALPHA)
        images = LabelledIntervals(read.labels, read.intervals, tuple(groups.tolist()))
        best = optimum(images, Objective()) if len(images) else None
        by_group = {group: int(read.counts[groups == group].sum()) for group in GROUPS if (groups == group).any()}
        return {
            "model": served.name,
            "version": served.bundle.manifest.version,
            "labels": int(read.counts.sum()),
            "by_group": by_group,
            "last": len(images),
            "optimum": best and {"alpha": best.alpha, "interval": [best.low, best.high], "balanced": best.value},
            "in_force": {"name": DEFAULT_ALPHA, "alpha": alpha},
            "drift": best and best.alpha - alpha,
            "accuracy": {"in_force": _recalls(images, alpha), "at_zero": _recalls(images, 0.0)},
            "predictions": _shares(read.predictions, groups),
        }

    def is_heavy(self, last: int | None) -> bool:
        """Say whether a summary of so many labels is better not worked out beside others."""
        return (last or self._last) > LIGHT_LABELS

    def collect(self) -> Iterator[Metric]:
        """Return the gauges, as Prometheus asks for them."""
        labels = GaugeMetricFamily("longtail_feedback_labels", "Labels stored.", labels=["model"])
        best = GaugeMetricFamily("longtail_alpha_optimum", "Best alpha of the newest labels.", labels=["model"])
        alpha = GaugeMetricFamily("longtail_alpha_in_force", "Alpha of `balanced`.", labels=["model"])
        drift = GaugeMetricFamily("longtail_alpha_drift", "Optimum less what is in force.", labels=["model"])
        images = GaugeMetricFamily("longtail_recent_images", "Recent images, of prediction_share.", labels=["model"])
        share = GaugeMetricFamily(
            "longtail_prediction_share",
            "Share of recent images taken for a class of this group, at the alpha used and at alpha 0.",
            labels=["model", "group", "alpha"],
        )
        right = GaugeMetricFamily(
            "longtail_feedback_accuracy",
            "Mean recall of the group's classes by the newest labels, at the alpha in force and at alpha 0.",
            labels=["model", "group", "alpha"],
        )
        running = {(served.name, served.version) for served in self._registry}
        for model, figures in self._latest.items():
            if (model, figures["version"]) not in running:  # gone since the last look
                continue
            labels.add_metric([model], figures["labels"])
            alpha.add_metric([model], figures["in_force"]["alpha"])
            if figures["optimum"] is not None:
                best.add_metric([model], figures["optimum"]["alpha"])
                drift.add_metric([model], figures["drift"])
            for name, recalls in zip(("in_force", "zero"), figures["accuracy"].values(), strict=True):
                for group, recall in recalls.items():
                    right.add_metric([model, group, name], recall)
            predictions = figures["predictions"]
            images.add_metric([model], predictions["images"])
            for group, at_zero in predictions["at_zero"].items():
                share.add_metric([model, group, "used"], predictions[group])
                share.add_metric([model, group, "zero"], at_zero)
        yield from (labels, best, alpha, drift, right, images, share)

    def _serve(self) -> None:
        while True:
            started = time.perf_counter()
            try:
                self.look()
            except StorageUnavailableError as error:
                if not self._in_trouble:
                    log.warning("drift is not watched: %s", error)
                self._in_trouble = True
            except Exception:
                if not self._in_trouble:
                    log.exception("drift is not watched")
                self._in_trouble = True
            else:
                self._in_trouble = False
            if self._closing.wait(max(self._interval, (time.perf_counter() - started) / SHARE)):
                return


def _recalls(images: LabelledIntervals, alpha: float) -> dict[str, float]:
    """Return the mean recall of each group's classes that have labels."""
    recalls = images.recall_at(alpha)
    groups = np.array(images.groups)
    known = images.class_images > 0
    chosen = {group: recalls[known & (groups == group)] for group in GROUPS}
    return {group: float(each.mean()) for group, each in chosen.items() if len(each)}


def _shares(predictions: NDArray[np.int64], groups: NDArray[np.str_]) -> dict[str, Any]:
    """(M, 3) rows of class at the alpha used, class at alpha 0, pictures -> shares of each group the model has."""
    used, zero, images = predictions.T
    total = int(images.sum())
    if not total:
        return {"images": 0, "at_zero": {}}
    present = [group for group in GROUPS if (groups == group).any()]
    at_used, at_zero = (
        {group: float(images[groups[classes] == group].sum() / total) for group in present} for classes in (used, zero)
    )
    return {"images": total, **at_used, "at_zero": at_zero}
