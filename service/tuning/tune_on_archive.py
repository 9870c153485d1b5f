"""Chooses alpha on the labelled pictures of an uploaded archive.

The choice itself is in `models/tuning.py`, as on the command line. The pictures go through the same queue as those of
requests, a few at a time, so a job slows down live traffic no more than that number of clients would.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np

from models.errors import ImageError
from models.objective import Objective
from models.scores import Scores
from models.tuning import tune
from service.errors import ArchiveError, TooManyUnreadableError, describe
from service.inference.registry import ServedModel
from service.inference.worker import Worker
from service.jobs.job import Progress, Report
from service.tuning.archives import LabelledArchive

__all__ = ["tune_on_archive"]

MAX_PICTURES_IN_FLIGHT = 16
MAX_SCORES = 100_000_000  # pictures times classes: 400 MB of logits
MAX_UNREADABLE_SHARE = 0.1
MAX_LISTED = 100


async def tune_on_archive(
    worker: Worker,
    compute: Callable[[Callable[[], Report]], Awaitable[Report]],
    served: ServedModel,
    archive: LabelledArchive,
    objective: Objective,
    progress: Progress,
) -> Report:
    """Return the report on the best alpha for an archive.

    Args:
        worker: computes the network output for the pictures.
        compute: runs a function in the thread for jobs.
        served: the model.
        archive: the labelled pictures.
        objective: what alpha should maximise, and under which constraints.
        progress: counts the pictures.

    Raises:
        ArchiveError: there are more pictures than fit into memory.
        TooManyUnreadableError: more than a tenth of the pictures cannot be read.
        TuningError, InfeasibleError: as `models.tuning.tune`.

    """
    classes = len(served.bundle.manifest.classes)
    if len(archive) * classes > MAX_SCORES:
        raise ArchiveError(
            f"the archive has {len(archive)} pictures; send at most {MAX_SCORES // classes} for this model"
        )
    scoring = _Scoring(worker, served, archive, progress)
    await scoring.run()

    def choose() -> Report:
        return tune(scoring.scores(), served.bundle.class_counts, objective, progress.check)

    unreadable = {"unreadable": scoring.unreadable[:MAX_LISTED], "unreadable_images": len(scoring.unreadable)}
    return await compute(choose) | unreadable | {"data_note": archive.note}


class _Scoring:
    """The network outputs for an archive, computed a few pictures at a time."""

    def __init__(self, worker: Worker, served: ServedModel, archive: LabelledArchive, progress: Progress) -> None:
        manifest = served.bundle.manifest
        pictures = len(archive)
        self.worker = worker
        self.served = served
        self.archive = archive
        self.progress = progress
        self.logits = np.empty((pictures, len(manifest.classes)), np.float32)
        self.head_cosine = np.empty((pictures, manifest.num_heads), np.float32)
        self.scored = np.zeros(pictures, dtype=bool)
        self.unreadable: list[dict[str, Any]] = []
        progress.total = pictures

    async def run(self) -> None:
        """Compute the network output for every picture, and list those that cannot be read.

        Raises:
            TooManyUnreadableError: more than a tenth of the pictures cannot be read.

        """
        indices = iter(range(len(self.archive)))
        tasks = [asyncio.create_task(self._score(indices)) for _ in range(MAX_PICTURES_IN_FLIGHT)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def scores(self) -> Scores:
        """Return the scores of the readable pictures, as lines along alpha."""
        manifest = self.served.bundle.manifest
        groups = tuple(info.group for info in manifest.classes)
        labels = np.array(self.archive.labels, np.int64)[self.scored]
        effect = self.served.bundle.class_effect
        cosine = self.head_cosine[self.scored]
        return Scores(self.logits[self.scored], effect, labels, groups, head_cosine=cosine)

    async def _score(self, indices: Iterator[int]) -> None:
        """Take pictures from the shared iterator until it is empty."""
        for index in indices:
            try:
                picture = await asyncio.to_thread(self.archive.read, index)
                self.logits[index], self.head_cosine[index] = await self.worker.infer(self.served, picture)
            except ImageError as error:
                self._add_unreadable(index, error)
            else:
                self.scored[index] = True
            self.progress.done += 1

    def _add_unreadable(self, index: int, error: ImageError) -> None:
        answer = describe(error)
        self.unreadable.append(
            {"name": self.archive.name(index), "error": {"code": answer.code, "message": answer.message}}
        )
        if len(self.unreadable) > max(1.0, MAX_UNREADABLE_SHARE * len(self.archive)):
            first = self.unreadable[0]
            raise TooManyUnreadableError(
                f"more than {MAX_UNREADABLE_SHARE:.0%} of the {len(self.archive)} pictures cannot be read, such "
                f"as {first['name'][:128]!r}: {first['error']['message']}"
            )
