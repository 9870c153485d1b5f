"""The computation of one batch: run the network, then compute the answer to every query on its output."""

import logging
import time
from typing import NamedTuple

import numpy as np

from service.errors import InferenceError
from service.inference.batching import Infer
from service.inference.network_output import NetworkOutput
from service.inference.picture import SEE_LOG, Picture
from service.inference.queries import Outcome, answer_waiters
from service.inference.registry import ServedModel

__all__ = ["ComputedBatch", "compute_batch"]

log = logging.getLogger("longtail.worker")


class ComputedBatch(NamedTuple):
    """The network output of a batch, and the outcome for every request that waited for it by then.

    Args:
        served: the model.
        output: (B, C) logits at alpha 0 and (B, K) head cosine.
        outcomes: one for each request.
        started_ns: when the network started, on the clock of `time.perf_counter_ns`.
        computed_ns: when the network finished.

    """

    served: ServedModel
    output: NetworkOutput
    outcomes: list[Outcome]
    started_ns: int
    computed_ns: int


def compute_batch(batch: Infer[ServedModel, Picture]) -> ComputedBatch | InferenceError:
    """Return the computed batch, or the error that every picture of the batch is answered with."""
    served = batch.model
    pictures = batch.items
    started_ns = time.perf_counter_ns()
    try:
        images = np.stack([picture.pixels for picture in pictures])
        output = NetworkOutput(*served.engine.run(images, alone=batch.alone))
    except Exception:
        log.exception("model %s failed on a batch of %d images", served.name, len(pictures))
        return InferenceError(f"the model failed on this picture; {SEE_LOG}")
    computed_ns = time.perf_counter_ns()
    if not len(output.logits) == len(output.head_cosine) == len(pictures):
        shapes = output.logits.shape, output.head_cosine.shape
        log.error("model %s returned shapes %s and %s for %d images", served.name, *shapes, len(pictures))
        return InferenceError(f"the model returned no output for this picture; {SEE_LOG}")
    outcomes = answer_waiters(served, output, [picture.waiters.copy() for picture in pictures])
    return ComputedBatch(served, output, outcomes, started_ns, computed_ns)
