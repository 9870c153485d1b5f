"""The warm-up checks the engine, warms every size that is used, and finds the best batch size."""

import numpy as np
import pytest

from engines.base import EngineError
from engines.fake import FakeEngine
from models.bundle import Bundle
from service.inference.warm_up import batch_policy, warm_up


class Clock:
    """A clock that advances only when an engine computes, by a given time for each batch size."""

    def __init__(self, engine: FakeEngine, seconds: dict[int, float]) -> None:
        self.now = 0.0
        self.engine = engine
        self.seconds = seconds
        self.seen = 0

    def __call__(self) -> float:
        self.now += sum(self.seconds[size] for size in self.engine.batches[self.seen :])
        self.seen = len(self.engine.batches)
        return self.now


@pytest.mark.parametrize(
    ("timings", "best"),
    [
        ({1: 1.0}, 1),
        ({1: 1.0, 2: 2.0, 4: 4.0}, 4),  # neither faster nor slower
        ({1: 1.0, 2: 2.05, 4: 4.2, 8: 9.0}, 2),
        ({1: 1.0, 2: 1.1, 4: 1.3, 8: 1.9}, 8),
        ({1: 1.0, 2: 1.9, 4: 4.0}, 2),
        ({1: 1.0, 2: 2.5, 4: 4.0}, 4),  # a single slow size does not matter
    ],
)
def test_the_largest_batch_within_3_percent_of_the_best_is_chosen(timings: dict[int, float], best: int) -> None:
    assert batch_policy(timings).max_images == best


@pytest.mark.parametrize(("timings", "fast"), [({1: 0.004}, True), ({1: 0.006}, False), ({1: 0.006, 8: 0.008}, True)])
def test_a_model_is_fast_if_an_image_takes_less_than_5_ms(timings: dict[int, float], fast: bool) -> None:
    assert batch_policy(timings).fast is fast


@pytest.mark.parametrize(
    ("per_batch", "max_images", "chosen", "tried"),
    [
        ({1: 0.004, 2: 0.008, 4: 0.016, 8: 0.032}, 8, 8, {1, 2, 4, 8}),
        ({1: 0.004, 2: 0.008, 3: 0.012}, 3, 3, {1, 2, 3}),
        ({1: 0.004, 2: 0.010}, 8, 1, {1, 2}),  # clearly slower: larger ones are not tried
        ({1: 0.040, 2: 0.080, 4: 0.160}, 64, 2, {1, 2}),  # so slow that a batch of four would exceed the time limit
        ({1: 1.0}, 64, 1, {1}),
        ({1: 0.0001, 2: 0.0004, 4: 0.0009}, 4, 4, {1, 2, 4}),  # the overhead takes longer than the run
    ],
)
def test_batch_sizes_grow_while_that_pays_and_time_is_left(
    tiny_bundle: Bundle, per_batch: dict[int, float], max_images: int, chosen: int, tried: set[int]
) -> None:
    engine = FakeEngine(tiny_bundle)
    clock = Clock(engine, per_batch)
    assert warm_up(tiny_bundle, engine, max_images, clock).max_images == chosen
    assert set(engine.batches) == tried | set(range(1, chosen + 1))  # every size that is used is warm, timed or not
    assert clock.now < 1.0 + 3 * max(per_batch.values())


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda logits: logits * np.nan, "output for a grey picture is not finite"),
        (lambda logits: logits[:, :2], r"returns \(1, 2\) and \(1, 2\), expected"),
        (lambda logits: logits.nothing, "fails on a batch of 1 grey pictures: .* no attribute 'nothing'"),
    ],
)
def test_an_engine_with_a_wrong_output_is_refused(tiny_bundle: Bundle, spoil: object, sentence: str) -> None:
    engine = FakeEngine(tiny_bundle)
    engine.spoil = spoil
    with pytest.raises(EngineError, match=f"bundle tiny/1: .*{sentence}"):
        warm_up(tiny_bundle, engine, 4)
