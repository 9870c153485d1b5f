"""Chooses alpha on the labels that clients sent as feedback."""

from collections.abc import Awaitable, Callable

from models.accuracy import LabelledIntervals
from models.errors import TuningError
from models.objective import Objective
from models.tuning import tune_intervals
from service.feedback.store import FeedbackStore
from service.inference.registry import ServedModel
from service.jobs.job import Progress, Report

__all__ = ["tune_on_feedback"]


async def tune_on_feedback(
    feedback: FeedbackStore,
    compute: Callable[[Callable[[], Report]], Awaitable[Report]],
    served: ServedModel,
    since: float | None,
    objective: Objective,
    progress: Progress,
) -> Report:
    """Return the report on the best alpha for stored labels.

    Args:
        feedback: the stored labels.
        compute: runs a function in the thread for jobs.
        served: the model.
        since: the time of the oldest label, in seconds since 1970; None for all labels.
        objective: what alpha should maximise, and under which constraints.
        progress: counts the labels.

    Raises:
        TuningError, InfeasibleError: as `models.tuning.tune_intervals`.
        StorageUnavailableError: the database is unavailable.

    """
    manifest = served.bundle.manifest

    def choose() -> Report:
        labels, intervals = feedback.intervals(manifest.name, manifest.version, since)
        progress.done = progress.total = len(labels)
        if not len(labels):
            raise TuningError(f"there is no feedback for {manifest.name} yet; send labels to /v1/feedback first")
        groups = tuple(info.group for info in manifest.classes)
        return tune_intervals(LabelledIntervals(labels, intervals, groups), objective, progress.check)

    return await compute(choose) | {"unreadable": [], "unreadable_images": 0}
