"""What a batch leaves in the metrics and in its model's statistics."""

import math
import time
from collections.abc import Sequence

from service.inference.cache import NetworkOutput
from service.inference.picture import Picture
from service.inference.registry import ServedModel
from service.metrics import Metrics

__all__ = ["count_batch"]


def count_batch(
    metrics: Metrics,
    served: ServedModel,
    pictures: Sequence[Picture],
    numbers: NetworkOutput,
    started: int,
    computed: int,
) -> None:
    """Count a batch whose answers have just been worked out.

    Args:
        metrics: where.
        served: the model.
        pictures: B of them.
        numbers: (B, C) and (B, K), as the network gave them.
        started: when the network began, in nanoseconds.
        computed: when it was done.

    """
    answered = time.perf_counter_ns()
    decoding = 0
    stages = metrics.stages(served.name)
    for picture in pictures:
        decoding += picture.decode_ns
        stages.decode.observe(picture.decode_ns / 1e9)
        stages.queue.observe((started - picture.since_ns - picture.decode_ns) / 1e9)
    for cosine in numbers.head_cosine.mean(axis=1).tolist():
        if math.isfinite(cosine):  # or the sum would be spoilt for ever
            stages.head_cosine.observe(cosine)
    stages.inference.observe((computed - started) / 1e9)
    stages.alpha.observe((answered - computed) / 1e9)
    stages.batch_images.observe(len(pictures))
    served.statistics.batch(
        images=len(pictures),
        queue_ns=sum(started - picture.since_ns - picture.decode_ns for picture in pictures),
        compute_input_ns=decoding,
        compute_infer_ns=computed - started,
        compute_output_ns=answered - computed,
    )
