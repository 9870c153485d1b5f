"""The closed forms along alpha against brute force over dense grids."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models import alpha_path
from models.alpha_path import AccuracyCurve, accuracy_curve, best_interval, winning_intervals

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


def random_problem(seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(N, 2) intervals of random images, weights (N,)."""
    rng = np.random.default_rng(seed)
    logits, slope = rng.standard_normal((2, 30, 4))
    return winning_intervals(logits, slope, rng.integers(0, 4, 30)), rng.uniform(0, 1, 30)


def test_the_grid_holds_no_crossing_of_small_integers() -> None:
    fractions = np.array([n / m for n in range(-8, 9) for m in range(1, 9)])
    assert np.abs(GRID[:, None] - fractions).min() > 1e-6


@given(lines)
def test_a_label_wins_exactly_inside_its_interval(rows: list[list[tuple[int, int]]]) -> None:
    array = np.array(rows, dtype=np.float64)
    logits, slope = array[:, :, 0], array[:, :, 1]
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
    logits, slope = np.ones((2, 2)), np.ones((2, 2))
    intervals = winning_intervals(logits, slope, np.array([0, 1]))
    np.testing.assert_array_equal(intervals, [[-np.inf, np.inf], [np.nan, np.nan]])


def test_a_class_that_only_touches_never_wins() -> None:
    logits, slope = np.array([[0.0, 0.0, 0.0]]), np.array([[1.0, 0.0, -1.0]])  # all meet at alpha 0
    np.testing.assert_array_equal(winning_intervals(logits, slope, np.array([1])), [[np.nan, np.nan]])


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    logits, slope = rng.standard_normal((2, 23, 5))
    labels = rng.integers(0, 5, 23)
    whole = winning_intervals(logits, slope, labels)
    monkeypatch.setattr(alpha_path, "_CHUNK_ELEMENTS", 20)
    np.testing.assert_array_equal(winning_intervals(logits, slope, labels), whole)


def test_no_images_have_no_intervals_and_a_flat_curve() -> None:
    intervals = winning_intervals(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, np.int64))
    curve = accuracy_curve(intervals, np.zeros(0))
    assert intervals.shape == (0, 2)
    assert (curve.breakpoints.tolist(), curve.values.tolist()) == ([], [0.0])


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


@given(seeds)
def test_the_accuracy_curve_matches_counting(seed: int) -> None:
    intervals, weights = random_problem(seed)
    counted = inside(intervals) @ weights
    away = (np.abs(GRID[:, None, None] - intervals) > 1e-9).all(axis=(1, 2))
    curve = accuracy_curve(intervals, weights)
    np.testing.assert_allclose(curve.at(GRID)[away], counted[away], atol=1e-12)
    assert curve.at(1e300) == pytest.approx(weights[intervals[:, 1] == np.inf].sum(), abs=1e-12)


@given(seeds, st.floats(-3, 3), st.floats(0, 3))
def test_the_best_interval_is_where_a_dense_grid_is_highest(seed: int, low: float, width: float) -> None:
    curve = accuracy_curve(*random_problem(seed))
    lo, hi, value = best_interval(curve, low, low + width)
    assert low <= lo <= hi <= low + width
    assert value == pytest.approx(float(curve.at((lo + hi) / 2)), abs=1e-9)
    assert value >= curve.at(np.linspace(low, low + width, 500)[:-1]).max() - 1e-9


def test_of_equal_optima_the_one_nearest_to_the_plain_classifier_is_chosen() -> None:
    curve = AccuracyCurve(np.array([-3.0, -2.0, 1.0, 2.0]), np.array([0.1, 0.9, 0.2, 0.9, 0.0]))
    assert best_interval(curve, -5.0, 5.0) == (1.0, 2.0, 0.9)
    assert best_interval(curve, -2.5, 5.0) == (1.0, 2.0, 0.9)
    assert best_interval(curve, -5.0, 0.0) == (-3.0, -2.0, 0.9)


def test_rounding_does_not_choose_between_equal_optima() -> None:
    curve = AccuracyCurve(np.array([0.0, 1.0, 5.0, 6.0]), np.array([0.0, 0.3, 0.0, 0.1 + 0.2, 0.0]))
    assert best_interval(curve, -1.0, 7.0)[:2] == (0.0, 1.0)  # 0.1 + 0.2 is 0.30000000000000004


def test_one_image_right_as_another_turns_wrong_is_no_step() -> None:
    curve = accuracy_curve(np.array([[0.0, 1.0], [1.0, 2.0]]), np.array([0.5, 0.5]))
    assert curve.breakpoints.tolist() == [0.0, 2.0]
    assert best_interval(curve, -1.0, 3.0) == (0.0, 2.0, 0.5)


def test_a_range_of_one_point_is_answered() -> None:
    curve = accuracy_curve(np.array([[0.0, 1.0]]), np.array([1.0]))
    assert best_interval(curve, 0.5, 0.5) == (0.5, 0.5, 1.0)


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (-np.inf, 0.0), (0.0, np.nan)])
def test_a_range_that_is_none_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="give finite numbers"):
        best_interval(AccuracyCurve(np.array([]), np.array([0.5])), low, high)


def test_a_curve_refuses_what_it_cannot_weigh() -> None:
    with pytest.raises(ValueError, match="fit"):
        accuracy_curve(np.zeros((3, 2)), np.zeros(2))
    with pytest.raises(ValueError, match="a weight is not finite"):
        accuracy_curve(np.zeros((1, 2)), np.array([np.nan]))
    with pytest.raises(ValueError, match="not a number"):
        AccuracyCurve(np.array([]), np.array([0.5])).at(np.nan)
