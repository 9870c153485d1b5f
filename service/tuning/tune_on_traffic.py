"""Chooses alpha on recent traffic without labels: the mean prediction should match a prior.

The computation is in `models/prior.py`, as on the command line.
"""

from collections.abc import Awaitable, Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from models import tde
from models.accuracy import GROUPS
from models.errors import TuningError
from models.objective import Objective
from models.prior import Calibration, PriorMatch, estimate_prior, log_prior, match_prior, target_prior
from service.errors import PriorError
from service.feedback.kept_results import KeptResults
from service.inference.registry import ServedModel
from service.jobs.job import Progress, Report

__all__ = ["tune_on_traffic"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


async def tune_on_traffic(
    results: KeptResults,
    compute: Callable[[Callable[[], Report]], Awaitable[Report]],
    served: ServedModel,
    since: float | None,
    target: str | Mapping[str, float],
    objective: Objective,
    progress: Progress,
) -> Report:
    """Return the report on the alpha at which the mean prediction of recent pictures is closest to a prior.

    Args:
        results: the kept results.
        compute: runs a function in the thread for jobs.
        served: the model.
        since: the time of the oldest result, in seconds since 1970; None for all that are kept.
        target: the name of a prior, or class name -> weight.
        objective: the range of alpha.
        progress: counts the results.

    Raises:
        PriorError: the target is invalid, or it is `estimated` and the bundle has no calibration.
        TuningError: there are no recent results.
        StorageUnavailableError: the database is unavailable.

    """
    return await compute(lambda: _match_traffic(results, served, since, target, objective, progress))


def _match_traffic(
    results: KeptResults,
    served: ServedModel,
    since: float | None,
    target: str | Mapping[str, float],
    objective: Objective,
    progress: Progress,
) -> Report:
    manifest = served.bundle.manifest
    logits, head_cosine = results.recent_traffic(manifest.name, manifest.version, since)
    progress.done = progress.total = len(logits)
    if not len(logits):
        raise TuningError(f"there is no recent traffic of {manifest.name} to choose alpha from; classify some first")
    prior = _target_prior(served, logits, target, progress)
    slope = tde.head_effect(head_cosine, served.bundle.class_effect)
    match = match_prior(logits, slope, prior, low=objective.low, high=objective.high, check=progress.check)
    return _report(served, match, prior, head_cosine)


def _report(served: ServedModel, match: PriorMatch, prior: Float64, head_cosine: Float32) -> Report:
    manifest = served.bundle.manifest
    groups = np.array([info.group for info in manifest.classes])

    def figures(divergence: float, predicted: Float64) -> dict[str, float]:
        present = [group for group in GROUPS if (groups == group).any()]
        return {"divergence": divergence, **{group: float(predicted[groups == group].sum()) for group in present}}

    before = figures(match.divergence_at_zero, match.predicted_at_zero)
    after = figures(match.divergence, match.predicted)
    mean_cosine = float(head_cosine.mean(dtype=np.float64))
    return {
        "objective": "prior",
        "constraints": [],
        "alpha": match.alpha,
        "interval": None,
        "value": match.divergence,
        "confidence_interval": None,
        "before": before,
        "after": after,
        "gain": {name: after[name] - before[name] for name in before},
        "cross_fitted": None,
        "curve": {"alphas": match.alphas.tolist(), "figures": {"divergence": match.divergences.tolist()}},
        "logit_adjustment": None,
        "images": len(head_cosine),
        "classes_without_images": 0,
        "unreadable": [],
        "unreadable_images": 0,
        "target": {info.name: float(share) for info, share in zip(manifest.classes, prior, strict=True)},
        "label_free_alpha": 1.0 / mean_cosine if mean_cosine > 0 else None,
    }


def _target_prior(
    served: ServedModel, logits: Float32, target: str | Mapping[str, float], progress: Progress
) -> Float64:
    bundle = served.bundle
    manifest = served.bundle.manifest
    try:
        if target != "estimated":
            return target_prior(target, [info.name for info in manifest.classes], bundle.class_counts)
        calibration = _calibration(served)
        if calibration is None:
            raise PriorError(
                f"{manifest.name} has no calibration, which estimating a prior needs; add it with `python -m training "
                "evaluate BUNDLE --data … --save`, or send the target as class weights"
            )
        train = np.exp(log_prior(bundle.class_counts))
        return estimate_prior(calibration.probabilities(logits), train, check=progress.check)
    except ValueError as error:
        raise PriorError(str(error)) from error


def _calibration(served: ServedModel) -> Calibration | None:
    """Return the calibration in the bundle's metrics, or None if there is none or it is invalid."""
    stored = served.bundle.manifest.metrics.get("calibration")
    if not isinstance(stored, dict):
        return None
    temperature = stored.get("temperature")
    bias = stored.get("bias")
    if not isinstance(temperature, int | float) or not temperature > 0 or not isinstance(bias, list):
        return None
    if len(bias) != len(served.bundle.manifest.classes) or not all(isinstance(b, int | float) for b in bias):
        return None
    return Calibration(float(temperature), np.array(bias, np.float64))
