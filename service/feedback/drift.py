"""The drift monitor: compares the best alpha for recent labels with the alpha in force.

A thread reads the shared database every few seconds and /metrics shows its figures, so requests do not pay for them.
All processes read the same database; /metrics shows the figures of the process that answers, without adding them up. A
figure that is unknown (no labels, no pictures, no database) has no sample, rather than a zero.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Connection
from typing_extensions import override

from models.accuracy import GROUPS, LabelledIntervals
from models.objective import Objective
from models.optimum import optimum
from service.errors import StorageUnavailableError
from service.feedback.kept_results import KeptResults
from service.feedback.store import FeedbackStore, count_labels, read_intervals
from service.inference.registry import Registry, ServedModel
from service.repeating import Repeating
from service.storage.database import Database
from service.storage.operating_points import DEFAULT_ALPHA

__all__ = ["DriftMonitor"]

log = logging.getLogger("longtail.drift")
INTERVAL_SECONDS = 5.0
MAX_TIME_SHARE = 0.05  # of the thread's time that it may compute; with many labels it pauses longer
MAX_LIGHT_LABELS = 10_000  # the optimum for this many labels takes milliseconds


class DriftRows(NamedTuple):
    """The rows of the database that a summary is computed from.

    Args:
        counts: (C,) the number of labels of each class.
        labels: (N,) class indices of the newest labels.
        intervals: (N, 2) intervals of alpha on which each label wins.
        predictions: (M, 3) counts, see KeptResults.predictions.

    """

    counts: NDArray[np.int64]
    labels: NDArray[np.int64]
    intervals: NDArray[np.float64]
    predictions: NDArray[np.int64]


class DriftMonitor(Collector):
    """Computes a summary of each model's feedback, and exports the latest as a Prometheus collector.

    Args:
        database: the database with labels and predictions.
        registry: the models in service.
        feedback: the stored labels.
        results: the kept results.
        in_force: (model, name of an operating point) -> alpha.
        last: the number of newest labels that the optimum is computed from.
        interval: seconds between two summaries.

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
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        self._database = database
        self._registry = registry
        self._feedback = feedback
        self._results = results
        self._in_force = in_force
        self._last = last
        self._interval = interval
        self._latest: Mapping[str, dict[str, Any]] = {}
        self._failing = False
        self._thread = Repeating("drift-monitor", self._step, failure="drift is not computed", retry_seconds=interval)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, waiting at most five seconds for the database."""
        self._thread.close()

    def refresh(self) -> None:
        """Delete the labels beyond those kept, and compute the figures of all models.

        Raises:
            StorageUnavailableError: the database is unavailable; /metrics then has no figures.

        """
        latest: Mapping[str, dict[str, Any]] = {}
        try:
            self._feedback.delete_old()
            latest = {served.name: self.summary(served) for served in self._registry}
        finally:
            self._latest = latest

    def summary(self, served: ServedModel, *, since: float | None = None, last: int | None = None) -> dict[str, Any]:
        """Return the summary of a model's feedback, the answer of GET /v1/models/{model}/feedback.

        Args:
            served: the model.
            since: the earliest time of labels and pictures, in seconds since 1970; None for all.
            last: the number of newest labels that the optimum is computed from; None for the configured number.

        Raises:
            StorageUnavailableError: the database is unavailable.

        """
        rows = self._database.run_sync(lambda connection: self.read(connection, served, since=since, last=last))
        return self.figures(served, rows)

    def read(
        self, connection: Connection, served: ServedModel, *, since: float | None = None, last: int | None = None
    ) -> DriftRows:
        """Return the rows for `figures`, which is called after the transaction has ended."""
        name = served.name
        version = served.bundle.manifest.version
        counts = count_labels(connection, name, version, len(served.bundle.manifest.classes), since)
        labels, intervals = read_intervals(connection, name, version, since, last or self._last)
        return DriftRows(counts, labels, intervals, self._results.predictions(connection, name, version, since))

    def figures(self, served: ServedModel, rows: DriftRows) -> dict[str, Any]:
        """Return the summary computed from rows."""
        groups = np.array([info.group for info in served.bundle.manifest.classes])
        alpha = self._in_force(served, DEFAULT_ALPHA)
        images = LabelledIntervals(rows.labels, rows.intervals, tuple(groups.tolist()))
        best = optimum(images, Objective()) if len(images) else None
        by_group = {group: int(rows.counts[groups == group].sum()) for group in GROUPS if (groups == group).any()}
        return {
            "model": served.name,
            "version": served.bundle.manifest.version,
            "labels": int(rows.counts.sum()),
            "by_group": by_group,
            "last": len(images),
            "optimum": best and {"alpha": best.alpha, "interval": [best.low, best.high], "balanced": best.value},
            "in_force": {"name": DEFAULT_ALPHA, "alpha": alpha},
            "drift": best and best.alpha - alpha,
            "accuracy": {"in_force": _recalls(images, alpha), "at_zero": _recalls(images, 0.0)},
            "predictions": _shares(rows.predictions, groups),
        }

    def is_heavy(self, last: int | None) -> bool:
        """Return whether a summary of this many labels belongs on the executor for heavy queries."""
        return (last or self._last) > MAX_LIGHT_LABELS

    @override
    def collect(self) -> Iterator[Metric]:
        labels = _gauge("longtail_feedback_labels", "Stored labels.")
        best = _gauge("longtail_alpha_optimum", "Best alpha for the newest labels.")
        alpha = _gauge("longtail_alpha_in_force", "Alpha of the operating point `balanced`.")
        drift = _gauge("longtail_alpha_drift", "Optimum minus the alpha in force.")
        images = _gauge("longtail_recent_images", "Recent images that longtail_prediction_share is computed from.")
        share = _gauge(
            "longtail_prediction_share",
            "Share of recent images that are predicted as a class of this group, at the alpha used and at alpha 0.",
            "group",
            "alpha",
        )
        accuracy = _gauge(
            "longtail_feedback_accuracy",
            "Mean recall of the group's classes for the newest labels, at the alpha in force and at alpha 0.",
            "group",
            "alpha",
        )
        running = {(served.name, served.version) for served in self._registry}
        for model, figures in self._latest.items():
            if (model, figures["version"]) not in running:  # out of service since the last summary
                continue
            labels.add_metric([model], figures["labels"])
            alpha.add_metric([model], figures["in_force"]["alpha"])
            if figures["optimum"] is not None:
                best.add_metric([model], figures["optimum"]["alpha"])
                drift.add_metric([model], figures["drift"])
            for name, recalls in zip(("in_force", "zero"), figures["accuracy"].values(), strict=True):
                for group, recall in recalls.items():
                    accuracy.add_metric([model, group, name], recall)
            predictions = figures["predictions"]
            images.add_metric([model], predictions["images"])
            for group, at_zero in predictions["at_zero"].items():
                share.add_metric([model, group, "used"], predictions[group])
                share.add_metric([model, group, "zero"], at_zero)
        yield from (labels, best, alpha, drift, accuracy, images, share)

    def _step(self) -> float:
        """Refresh the figures, and return the seconds until the next time."""
        started = time.perf_counter()
        try:
            self.refresh()
            self._failing = False
        except StorageUnavailableError as error:
            if not self._failing:
                log.warning("drift is not computed: %s", error)
            self._failing = True
        except Exception:  # handled here, so that a slow refresh that fails keeps to its share of the time too
            if not self._failing:
                log.exception("drift is not computed")
            self._failing = True
        return max(self._interval, (time.perf_counter() - started) / MAX_TIME_SHARE)


def _gauge(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, labels=["model", *labels])


def _recalls(images: LabelledIntervals, alpha: float) -> dict[str, float]:
    """Return the mean recall of each group's classes that have labels."""
    recalls = images.recall_at(alpha)
    groups = np.array(images.groups)
    known = images.class_images > 0
    chosen = {group: recalls[known & (groups == group)] for group in GROUPS}
    return {group: float(of_group.mean()) for group, of_group in chosen.items() if len(of_group)}


def _shares(predictions: NDArray[np.int64], groups: NDArray[np.str_]) -> dict[str, Any]:
    """Return the share of predictions for each group of classes.

    Args:
        predictions: (M, 3) counts: class at the alpha used, class at alpha 0, number of pictures.
        groups: (C,) the group of each class.

    """
    used, zero, images = predictions.T
    total = int(images.sum())
    if not total:
        return {"images": 0, "at_zero": {}}
    present = [group for group in GROUPS if (groups == group).any()]
    at_used, at_zero = (
        {group: float(images[groups[classes] == group].sum() / total) for group in present} for classes in (used, zero)
    )
    return {"images": total, **at_used, "at_zero": at_zero}
