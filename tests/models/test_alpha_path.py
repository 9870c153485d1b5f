"""The closed forms along alpha against brute force over dense grids."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models import alpha_path
from models.alpha_path import PathStep, top_k_intervals, winning_intervals
from models.alpha_path import alpha_path as path_of

GRID = np.linspace(-10, 10, 1501) + np.pi / 2000
# Small integers make ties, parallel lines and three lines through one point common; their crossings are fractions
# n/m with |n|, |m| <= 8, which the grid avoids.
lines = st.integers(1, 6).flatmap(
    lambda classes: st.lists(
        st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=classes, max_size=classes),
        min_size=1,
        max_size=5,
    )
)
seeds = st.integers(0, 2**32 - 1)


def winners(logits: NDArray[Any], slope: NDArray[Any]) -> NDArray[Any]:
    """(len(GRID), N) argmax, one alpha at a time."""
    return np.stack([(logits - alpha * slope).argmax(axis=1) for alpha in GRID])


def inside(intervals: NDArray[Any]) -> NDArray[Any]:
    """(len(GRID), N) whether the grid's alpha lies in the interval; NaN compares false."""
    return (GRID[:, None] > intervals[:, 0]) & (GRID[:, None] < intervals[:, 1])


def test_the_grid_holds_no_crossing_of_small_integers() -> None:
    fractions = np.array([n / m for n in range(-8, 9) for m in range(1, 9)])
    assert np.abs(GRID[:, None] - fractions).min() > 1e-6


@given(lines)
def test_a_label_wins_exactly_inside_its_interval(rows: list[list[tuple[int, int]]]) -> None:
    array = np.array(rows, dtype=np.float64)
    logits = array[:, :, 0]
    slope = array[:, :, 1]
    brute = winners(logits, slope)
    for label in range(logits.shape[1]):
        intervals = winning_intervals(logits, slope, np.full(len(logits), label))
        np.testing.assert_array_equal(inside(intervals), brute == label)


@given(seeds)
def test_intervals_of_real_numbers_match_a_dense_grid(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, slope = rng.standard_normal((2, 20, 7)).astype(np.float32)
    labels = rng.integers(0, 7, 20)
    intervals = winning_intervals(logits, slope, labels)
    near_an_end = (np.abs(GRID[:, None, None] - intervals) < 1e-5).any(axis=2)  # float32 argmax may differ there
    assert ((inside(intervals) == (winners(logits, slope) == labels)) | near_an_end).all()


@given(seeds)
def test_the_classes_of_an_image_share_the_whole_of_alpha(seed: int) -> None:
    logits, slope = np.random.default_rng(seed).standard_normal((2, 1, 6)).repeat(6, axis=1)
    intervals = winning_intervals(logits, slope, np.arange(6))
    intervals = intervals[~np.isnan(intervals[:, 0])]
    intervals = intervals[np.argsort(intervals[:, 0])]
    np.testing.assert_array_equal(intervals[1:, 0], intervals[:-1, 1])  # they meet exactly
    assert (intervals[0, 0], intervals[-1, 1]) == (-np.inf, np.inf)


def test_twins_are_won_by_the_lower_index() -> None:
    logits = np.ones((2, 2))
    slope = np.ones((2, 2))
    intervals = winning_intervals(logits, slope, np.array([0, 1]))
    np.testing.assert_array_equal(intervals, [[-np.inf, np.inf], [np.nan, np.nan]])


def test_a_class_that_only_touches_never_wins() -> None:
    # all meet at alpha 0
    logits = np.array([[0.0, 0.0, 0.0]])
    slope = np.array([[1.0, 0.0, -1.0]])
    np.testing.assert_array_equal(winning_intervals(logits, slope, np.array([1])), [[np.nan, np.nan]])


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    logits, slope = rng.standard_normal((2, 23, 5))
    labels = rng.integers(0, 5, 23)
    whole = winning_intervals(logits, slope, labels)
    monkeypatch.setattr(alpha_path, "_CHUNK_ELEMENTS", 20)
    np.testing.assert_array_equal(winning_intervals(logits, slope, labels), whole)


def test_no_images_have_no_intervals() -> None:
    assert winning_intervals(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, np.int64)).shape == (0, 2)


def test_one_slope_for_all_images_is_the_same_as_repeating_it() -> None:
    rng = np.random.default_rng(5)
    logits = rng.standard_normal((40, 6))
    slope = rng.standard_normal(6)
    labels = rng.integers(0, 6, 40)
    repeated = winning_intervals(logits, np.tile(slope, (40, 1)), labels)
    np.testing.assert_array_equal(winning_intervals(logits, slope, labels), repeated)


@pytest.mark.parametrize(
    ("logits", "slope", "labels", "sentence"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4)), np.zeros(2, int), "fit"),
        (np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(3, int), "fit"),
        (np.zeros((1, 3)), np.zeros((1, 3)), np.array([3]), "labels run from 3 to 3 but there are 3 classes"),
        (np.zeros((1, 3)), np.zeros((1, 3)), np.array([-1]), "labels run from -1"),
        (np.full((1, 3), np.nan), np.zeros((1, 3)), np.array([0]), "not finite"),
        (np.zeros((1, 3)), np.full((1, 3), np.inf), np.array([0]), "not finite"),
    ],
)
def test_images_that_make_no_sense_are_refused(logits: Any, slope: Any, labels: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        winning_intervals(logits, slope, labels)


@given(lines)
def test_the_path_names_the_winner_everywhere(rows: list[list[tuple[int, int]]]) -> None:
    for logits, slope in np.array(rows, dtype=np.float64).transpose(0, 2, 1):
        steps = path_of(logits, slope)
        begins = np.array([step.low for step in steps])
        named = np.array([step.class_index for step in steps])[np.searchsorted(begins, GRID, side="right") - 1]
        np.testing.assert_array_equal(named, winners(logits[None], slope[None])[:, 0])


@given(lines)
def test_a_path_is_gapless_and_names_no_class_twice(rows: list[list[tuple[int, int]]]) -> None:
    for logits, slope in np.array(rows, dtype=np.float64).transpose(0, 2, 1):
        steps = path_of(logits, slope)
        assert (steps[0].low, steps[-1].high) == (-np.inf, np.inf)
        assert all(before.high == after.low for before, after in pairwise(steps))
        assert all(step.low < step.high for step in steps)
        assert len({step.class_index for step in steps}) == len(steps)


@given(seeds)
def test_path_and_interval_of_a_class_are_the_same(seed: int) -> None:
    logits, slope = np.random.default_rng(seed).standard_normal((2, 9)).astype(np.float32)
    for step in path_of(logits, slope):
        interval = winning_intervals(logits[None], slope[None], np.array([step.class_index]))[0]
        np.testing.assert_allclose(interval, [step.low, step.high], rtol=1e-12)


@given(lines, st.floats(-5, 5), st.floats(0.01, 5))
def test_a_part_of_the_path_is_the_path_cut_off(rows: list[list[tuple[int, int]]], low: float, width: float) -> None:
    high = low + width
    for logits, slope in np.array(rows, dtype=np.float64).transpose(0, 2, 1):
        cut = [
            PathStep(max(step.low, low), min(step.high, high), step.class_index)
            for step in path_of(logits, slope)
            if max(step.low, low) < min(step.high, high)
        ]
        assert path_of(logits, slope, low, high) == cut


def test_one_class_wins_everywhere() -> None:
    assert path_of(np.array([3.0]), np.array([2.0])) == [PathStep(-np.inf, np.inf, 0)]


def test_nearly_parallel_lines_of_any_size_give_a_finite_answer() -> None:
    logits = np.array([1e300, -1e300, 0.0])
    slope = np.array([1.0, np.nextafter(1.0, 2.0), 1.0])
    steps = path_of(logits, slope)
    assert (steps[0].low, steps[-1].high) == (-np.inf, np.inf)
    assert not any(np.isnan([step.low, step.high]).any() for step in steps)


@given(lines, st.integers(1, 7))
def test_a_label_is_among_the_top_k_exactly_inside_its_union(rows: list[list[tuple[int, int]]], k: int) -> None:
    array = np.array(rows, dtype=np.float64)
    logits = array[:, :, 0]
    slope = array[:, :, 1]
    shifted = logits[None] - GRID[:, None, None] * slope[None]
    ranks = np.argsort(np.argsort(-shifted, axis=2, kind="stable"), axis=2)  # ties go to the lower index
    for label in range(logits.shape[1]):
        unions = top_k_intervals(logits, slope, np.full(len(logits), label), k)
        for image, union in enumerate(unions):
            assert (union[1:, 0] > union[:-1, 1]).all()
            held = ((GRID[:, None] > union[:, 0]) & (GRID[:, None] < union[:, 1])).any(axis=1)
            np.testing.assert_array_equal(held, ranks[:, image, label] < k)


@pytest.mark.parametrize(
    ("logits", "slope", "low", "high", "sentence"),
    [
        (np.zeros(0), np.zeros(0), -1.0, 1.0, "fit"),
        (np.zeros(2), np.zeros(3), -1.0, 1.0, "fit"),
        (np.array([np.inf, 0.0]), np.zeros(2), -1.0, 1.0, "not finite"),
        (np.zeros(2), np.array([np.nan, 0.0]), -1.0, 1.0, "not finite"),
        (np.zeros(2), np.zeros(2), 1.0, 1.0, "has no length"),
        (np.zeros(2), np.zeros(2), np.nan, 1.0, "has no length"),
    ],
)
def test_a_path_that_makes_no_sense_is_refused(logits: Any, slope: Any, low: float, high: float, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        path_of(logits, slope, low, high)


def test_the_top_0_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="k is 1 or more"):
        top_k_intervals(np.zeros((1, 2)), np.zeros((1, 2)), np.array([0]), 0)
    with pytest.raises(ValueError, match="not finite"):
        top_k_intervals(np.full((1, 2), np.inf), np.zeros((1, 2)), np.array([0]), 1)
