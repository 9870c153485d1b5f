"""Where an alpha is chosen from, in the service: an uploaded archive, feedback, or traffic without labels.

The choice itself is `models/tuning.py` and `models/prior.py`, the same as on the command line. This module brings the
numbers there: it runs the archive's pictures through the same queue as everybody's requests, a few at a time, so that a
job slows live traffic by no more than as many clients would.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import tde
from models.accuracy import LabelledIntervals
from models.errors import ImageError, TuningError
from models.objective import Objective
from models.prior import Calibration, estimate_prior, log_prior, match_prior, target_prior
from models.scores import Scores
from models.tuning import tune, tune_intervals
from service.context import Context
from service.errors import ArchiveError, ExemptClassError, PriorError, TooManyUnreadableError, describe
from service.inference.registry import ServedModel
from service.jobs.runner import Progress
from service.tuning.archives import LabelledArchive

__all__ = ["calibration_of", "refuse_exempt", "tune_on_archive", "tune_on_feedback", "tune_on_traffic"]

IMAGES_AT_ONCE = 16
MAX_SCORES = 100_000_000  # images x classes: 400 MB of logits
MAX_UNREADABLE_SHARE = 0.1
MAX_LISTED = 100
Report = dict[str, Any]
Float32 = NDArray[np.float32]


def refuse_exempt(served: ServedModel) -> None:
    """Refuse to look along alpha where a class is exempt.

    Raises:
        ExemptClassError: one is.

    """
    manifest = served.bundle.manifest
    if manifest.exempt_class is not None:
        raise ExemptClassError(
            f"{manifest.name} exempts the class {manifest.classes[manifest.exempt_class].name!r} from alpha, so its "
            "probabilities are not affine in alpha: there is no exact path to show and no exact alpha to choose"
        )


async def tune_on_archive(
    context: Context, served: ServedModel, archive: LabelledArchive, objective: Objective, progress: Progress
) -> Report:
    """Choose alpha on an archive's labelled pictures.

    Raises:
        ArchiveError: more pictures than fit into memory.
        TooManyUnreadableError: more than a tenth of the pictures cannot be read.
        TuningError, InfeasibleError: as `models.tuning.tune`.

    """
    if len(archive) * len(served.bundle.manifest.classes) > MAX_SCORES:
        most = MAX_SCORES // len(served.bundle.manifest.classes)
        raise ArchiveError(f"the archive has {len(archive)} pictures; for this model at most {most} fit")
    scoring = _Scoring(context, served, archive, progress)
    await scoring.run()

    def work() -> Report:
        return tune(scoring.scores(), served.bundle.class_counts, objective, progress.check)

    unreadable = {"unreadable": scoring.unreadable[:MAX_LISTED], "unreadable_images": len(scoring.unreadable)}
    return await context.jobs.compute(work) | unreadable


async def tune_on_feedback(
    context: Context, served: ServedModel, since: float | None, objective: Objective, progress: Progress
) -> Report:
    """Choose alpha on labels that came back.

    Raises:
        TuningError, InfeasibleError: as `models.tuning.tune_intervals`.
        StorageUnavailableError: the database is away.

    """
    manifest = served.bundle.manifest

    def work() -> Report:
        labels, intervals = context.feedback.intervals(manifest.name, manifest.version, since)
        progress.done = progress.total = len(labels)
        if not len(labels):
            raise TuningError(f"there is no feedback for {manifest.name} yet; send labels to /v1/feedback first")
        groups = tuple(info.group for info in manifest.classes)
        return tune_intervals(LabelledIntervals(labels, intervals, groups), objective, progress.check)

    return await context.jobs.compute(work) | {"unreadable": [], "unreadable_images": 0}


async def tune_on_traffic(
    context: Context,
    served: ServedModel,
    since: float | None,
    target: str | Mapping[str, float],
    objective: Objective,
    progress: Progress,
) -> Report:
    """Choose alpha without labels: the mean prediction of recent pictures comes closest to the target prior.

    Raises:
        PriorError: a target that makes no sense, or `estimated` for a bundle without calibration.
        TuningError: there was no traffic.
        StorageUnavailableError: the database is away.

    """
    return await context.jobs.compute(lambda: _match_traffic(context, served, since, target, objective, progress))


def calibration_of(served: ServedModel) -> Calibration | None:
    """Return the calibration a bundle's metrics hold, where they do (models/README.md)."""
    found = served.bundle.manifest.metrics.get("calibration")
    if not isinstance(found, dict):
        return None
    temperature = found.get("temperature")
    bias = found.get("bias")
    if not isinstance(temperature, int | float) or not temperature > 0 or not isinstance(bias, list):
        return None
    if len(bias) != len(served.bundle.manifest.classes) or not all(isinstance(b, int | float) for b in bias):
        return None
    return Calibration(float(temperature), np.array(bias, np.float64))


def _match_traffic(
    context: Context,
    served: ServedModel,
    since: float | None,
    target: str | Mapping[str, float],
    objective: Objective,
    progress: Progress,
) -> Report:
    bundle = served.bundle
    manifest = served.bundle.manifest
    logits, head_cosine = context.results.recent_traffic(manifest.name, manifest.version, since)
    progress.done = progress.total = len(logits)
    if not len(logits):
        raise TuningError(f"there is no recent traffic of {manifest.name} to choose alpha from; classify some first")
    wanted = _target(served, logits, target, progress)
    slope = tde.head_effect(head_cosine, bundle.class_effect)
    match = match_prior(logits, slope, wanted, low=objective.low, high=objective.high, check=progress.check)
    groups = np.array([info.group for info in manifest.classes])

    def figures(divergence: float, predicted: NDArray[np.float64]) -> dict[str, float]:
        shares = {g: float(predicted[groups == g].sum()) for g in ("many", "medium", "few") if (groups == g).any()}
        return {"divergence": divergence, **shares}

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
        "images": len(logits),
        "classes_without_images": 0,
        "unreadable": [],
        "unreadable_images": 0,
        "target": {info.name: float(share) for info, share in zip(manifest.classes, wanted, strict=True)},
        "label_free_alpha": 1.0 / mean_cosine if mean_cosine > 0 else None,
    }


def _target(
    served: ServedModel, logits: Float32, target: str | Mapping[str, float], progress: Progress
) -> NDArray[np.float64]:
    bundle = served.bundle
    manifest = served.bundle.manifest
    try:
        if target != "estimated":
            return target_prior(target, [info.name for info in manifest.classes], bundle.class_counts)
        calibration = calibration_of(served)
        if calibration is None:
            raise PriorError(
                f"{manifest.name} has no calibration, which estimating a prior needs; `python -m training evaluate "
                "BUNDLE --data … --save` adds it, or give the target yourself"
            )
        train = np.exp(log_prior(bundle.class_counts))
        return estimate_prior(calibration.probabilities(logits), train, check=progress.check)
    except ValueError as error:
        raise PriorError(str(error)) from error


class _Scoring:
    """An archive on its way through the network, a few pictures at a time."""

    def __init__(self, context: Context, served: ServedModel, archive: LabelledArchive, progress: Progress) -> None:
        manifest = served.bundle.manifest
        images = len(archive)
        self.context = context
        self.served = served
        self.archive = archive
        self.progress = progress
        self.logits = np.empty((images, len(manifest.classes)), np.float32)
        self.head_cosine = np.empty((images, manifest.num_heads), np.float32)
        self.read = np.zeros(images, dtype=bool)
        self.unreadable: list[dict[str, Any]] = []
        progress.total = images

    async def run(self) -> None:
        """Score every picture; those that cannot be read are listed.

        Raises:
            TooManyUnreadableError: more than a tenth of them.

        """
        indices = iter(range(len(self.archive)))
        tasks = [asyncio.create_task(self._score(indices)) for _ in range(IMAGES_AT_ONCE)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def scores(self) -> Scores:
        """Return the pictures that were read, as lines along alpha."""
        manifest = self.served.bundle.manifest
        groups = tuple(info.group for info in manifest.classes)
        labels = np.array(self.archive.labels, np.int64)[self.read]
        effect = self.served.bundle.class_effect
        cosine = self.head_cosine[self.read]
        return Scores(self.logits[self.read], effect, labels, groups, head_cosine=cosine)

    async def _score(self, indices: Iterator[int]) -> None:
        for index in indices:
            try:
                data = await asyncio.to_thread(self.archive.read, index)
                self.logits[index], self.head_cosine[index] = await self.context.worker.infer(self.served, data)
            except ImageError as error:
                self._list(index, error)
            else:
                self.read[index] = True
            self.progress.done += 1

    def _list(self, index: int, error: ImageError) -> None:
        answer = describe(error)
        failure = {"code": answer.code, "message": answer.message}
        self.unreadable.append({"name": self.archive.name(index), "error": failure})
        if len(self.unreadable) > max(1.0, MAX_UNREADABLE_SHARE * len(self.archive)):
            first = self.unreadable[0]
            raise TooManyUnreadableError(
                f"more than {MAX_UNREADABLE_SHARE:.0%} of the {len(self.archive)} pictures cannot be read, such "
                f"as {first['name'][:128]!r}: {first['error']['message']}"
            )
