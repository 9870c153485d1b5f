"""The metrics and model statistics of a computed batch."""

import math
import time
from collections.abc import Sequence

from service.inference.batch_computation import ComputedBatch
from service.inference.picture import Picture
from service.metrics import Metrics

__all__ = ["count_batch"]


def count_batch(metrics: Metrics, batch: ComputedBatch, pictures: Sequence[Picture]) -> None:
    """Count a batch whose answers have just been computed.

    Args:
        metrics: the process's metrics.
        batch: the computed batch of B pictures.
        pictures: the B pictures.

    """
    answered_ns = time.perf_counter_ns()
    started_ns = batch.started_ns
    decode_ns = 0
    queue_ns = 0
    stages = metrics.stages(batch.served.name)
    for picture in pictures:
        waited_ns = started_ns - picture.queued_ns - picture.decode_ns
        decode_ns += picture.decode_ns
        queue_ns += waited_ns
        stages.decode.observe(picture.decode_ns / 1e9)
        stages.queue.observe(waited_ns / 1e9)
    for cosine in batch.output.head_cosine.mean(axis=1).tolist():
        if math.isfinite(cosine):  # a single NaN would make the sum NaN for good
            stages.head_distance.observe(max(0.0, 1 - cosine))  # rounding may take a cosine past 1
    stages.inference.observe((batch.computed_ns - started_ns) / 1e9)
    stages.alpha.observe((answered_ns - batch.computed_ns) / 1e9)
    stages.batch_images.observe(len(pictures))
    batch.served.statistics.add_batch(
        images=len(pictures),
        queue_ns=queue_ns,
        compute_input_ns=decode_ns,
        compute_infer_ns=batch.computed_ns - started_ns,
        compute_output_ns=answered_ns - batch.computed_ns,
    )
