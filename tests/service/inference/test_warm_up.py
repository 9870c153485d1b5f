"""What is run before anybody's picture, and how large a batch is worth it."""

import numpy as np
import pytest

from engines.base import EngineError
from engines.fake import FakeEngine
from models.bundle import Bundle
from service.inference.warm_up import batch_policy, warm_up


class Clock:
    """Seconds that pass only while an engine computes: so many for a batch of each size."""

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
        ({1: 1.0, 2: 2.0, 4: 4.0}, 4),  # nothing gained, nothing lost
        ({1: 1.0, 2: 2.05, 4: 4.2, 8: 9.0}, 2),
        ({1: 1.0, 2: 1.1, 4: 1.3, 8: 1.9}, 8),
        ({1: 1.0, 2: 1.9, 4: 4.0}, 2),
        ({1: 1.0, 2: 2.5, 4: 4.0}, 4),  # one size may be odd
    ],
)
def test_the_largest_batch_within_3_percent_of_the_best_is_chosen(timings: dict[int, float], best: int) -> None:
    assert batch_policy(timings).max_images == best


@pytest.mark.parametrize(("timings", "fast"), [({1: 0.004}, True), ({1: 0.006}, False), ({1: 0.006, 8: 0.008}, True)])
def test_a_model_is_fast_where_an_image_takes_less_than_5_ms(timings: dict[int, float], fast: bool) -> None:
    assert batch_policy(timings).fast is fast


@pytest.mark.parametrize(
    ("per_batch", "most", "cap", "tried"),
    [
        ({1: 0.004, 2: 0.008, 4: 0.016, 8: 0.032}, 8, 8, {1, 2, 4, 8}),
        ({1: 0.004, 2: 0.008, 3: 0.012}, 3, 3, {1, 2, 3}),
        ({1: 0.004, 2: 0.010}, 8, 1, {1, 2}),  # clearly slower: larger ones are not tried
        ({1: 0.040, 2: 0.080, 4: 0.160}, 64, 2, {1, 2}),  # so slow that a batch of four is beyond the time there is
        ({1: 1.0}, 64, 1, {1}),
        ({1: 0.0001, 2: 0.0004, 4: 0.0009}, 4, 4, {1, 2, 4}),  # what surrounds a run takes longer
    ],
)
def test_a_batch_grows_as_long_as_that_pays_and_time_is_left(
    tiny_bundle: Bundle, per_batch: dict[int, float], most: int, cap: int, tried: set[int]
) -> None:
    engine = FakeEngine(tiny_bundle)
    clock = Clock(engine, per_batch)
    assert warm_up(tiny_bundle, engine, most, clock).max_images == cap
    assert set(engine.batches) == tried | set(range(1, cap + 1))  # what is used is warm, timed or not
    assert clock.now < 1.0 + 3 * max(per_batch.values())


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda logits: logits * np.nan, "numbers that are not finite"),
        (lambda logits: logits[:, :2], r"gives \(1, 2\) and \(1, 2\), expected"),
        (lambda logits: logits.nothing, "fails on a batch of 1 grey pictures: .* no attribute 'nothing'"),
    ],
)
def test_an_engine_that_gives_no_good_numbers_is_refused(tiny_bundle: Bundle, spoil: object, sentence: str) -> None:
    engine = FakeEngine(tiny_bundle)
    engine.spoil = spoil
    with pytest.raises(EngineError, match=f"bundle tiny/1: .*{sentence}"):
        warm_up(tiny_bundle, engine, 4)
