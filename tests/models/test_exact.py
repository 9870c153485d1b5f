"""The closed forms along alpha against exact rational arithmetic, on lines made to break them.

The references below know nothing of envelopes: they cross every pair of lines in fractions, stand in every gap, and
look who is on top. Floats are fractions too, so nothing is rounded here. What our float64 may differ by is rounding of
a crossing (each difference and the quotient are rounded once), hence the tolerances.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models import tde
from models.accuracy import LabelledIntervals, accuracy_curve
from models.alpha_path import alpha_path, top_k_intervals, winning_intervals
from models.objective import OBJECTIVES, Objective
from models.optimum import optimum
from models.prior import estimate_prior, match_prior, prior_shift

Lines = list[tuple[Fraction, Fraction]]
Gap = tuple[float, float, Fraction]  # from, to, and an alpha inside
ROUNDING = 2.0**-50  # of a crossing, relative: three roundings of 2^-53 and some room

small = st.integers(-4, 4)  # so small that ties, parallel lines, twins and three lines through one point are common
whole_lines = st.integers(1, 6).flatmap(lambda classes: st.lists(st.tuples(small, small), min_size=classes, max_size=7))
powers_of_two = st.sampled_from([1.0, 2.0**-100, 2.0**100, 2.0**-40])  # scale without rounding
seeds = st.integers(0, 2**32 - 1)


def fractions(logits: NDArray[Any], slope: NDArray[Any]) -> Lines:
    return [(Fraction(float(a)), Fraction(float(b))) for a, b in zip(logits, slope, strict=True)]


def height(line: tuple[Fraction, Fraction], alpha: Fraction) -> Fraction:
    return line[0] - alpha * line[1]


def gaps(lines: Lines) -> list[Gap]:
    """Every stretch of alpha on which no two lines cross."""
    pairs = combinations(set(lines), 2)
    crossings = sorted({(a[0] - b[0]) / (a[1] - b[1]) for a, b in pairs if a[1] != b[1]})
    if not crossings:
        return [(-math.inf, math.inf, Fraction(0))]
    inner = [(float(a), float(b), (a + b) / 2) for a, b in pairwise(crossings)]
    first = crossings[0]
    last = crossings[-1]
    return [(-math.inf, float(first), first - 1), *inner, (float(last), math.inf, last + 1)]


def winner(lines: Lines, alpha: Fraction) -> int:
    return max(range(len(lines)), key=lambda index: (height(lines[index], alpha), -index))


def merged(held: Sequence[tuple[float, float, Any]]) -> list[tuple[float, float, Any]]:
    """Neighbours that agree become one."""
    joined: list[tuple[float, float, Any]] = []
    for low, high, what in held:
        if joined and joined[-1][2] == what and joined[-1][1] == low:
            joined[-1] = (joined[-1][0], high, what)
        else:
            joined.append((low, high, what))
    return joined


def exact_path(lines: Lines) -> list[tuple[float, float, int]]:
    return merged([(low, high, winner(lines, alpha)) for low, high, alpha in gaps(lines)])


def path_of(logits: NDArray[Any], slope: NDArray[Any]) -> list[tuple[float, float, int]]:
    return [(step.low, step.high, step.class_index) for step in alpha_path(logits, slope)]


@given(whole_lines, powers_of_two, powers_of_two)
def test_path_and_intervals_are_those_of_exact_arithmetic(
    rows: list[tuple[int, int]], logit_scale: float, slope_scale: float
) -> None:
    logits, slope = np.array(rows, np.float64).T * np.array([[logit_scale], [slope_scale]])
    expected = exact_path(fractions(logits, slope))
    assert path_of(logits, slope) == expected  # a quotient of two exact differences is the nearest number to it
    for label in range(len(rows)):
        interval = winning_intervals(logits[None], slope[None], np.array([label]))[0]
        mine = [(low, high) for low, high, index in expected if index == label]
        np.testing.assert_array_equal(interval, mine[0] if mine else (np.nan, np.nan))


@given(whole_lines, powers_of_two, st.integers(1, 7))
def test_the_top_k_are_those_of_exact_arithmetic(rows: list[tuple[int, int]], scale: float, k: int) -> None:
    logits, slope = np.array(rows, np.float64).T * scale
    lines = fractions(logits, slope)
    for label in range(len(rows)):

        def is_held(alpha: Fraction, mine: int = label) -> bool:
            own = (height(lines[mine], alpha), -mine)
            return sum((height(line, alpha), -index) > own for index, line in enumerate(lines)) < k

        expected = [[a, b] for a, b, held in merged([(a, b, is_held(x)) for a, b, x in gaps(lines)]) if held]
        assert top_k_intervals(logits[None], slope[None], np.array([label]), k)[0].tolist() == expected


def wrong_by(lines: Lines, steps: list[tuple[float, float, int]]) -> float:
    """How far below the top the named class ever is, relative to the numbers at hand; exact but for the last division.

    Heights are convex along a step that is named wrongly, so looking at its ends (or far out) and its middle is enough.
    """
    largest = max(abs(number) for line in lines for number in line) or Fraction(1)
    worst = Fraction(0)
    for low, high, index in steps:
        begin = Fraction(low) if low > -math.inf else Fraction(high if high < math.inf else 0) - 10**9
        end = Fraction(high) if high < math.inf else Fraction(low if low > -math.inf else 0) + 10**9
        for alpha in (begin, (begin + end) / 2, end):
            below = max(height(line, alpha) for line in lines) - height(lines[index], alpha)
            worst = max(worst, below / (largest * (1 + abs(alpha))))
    return float(worst)


def awkward(kind: str, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Logits and slopes of one image that stress rounding."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(1, 12))
    logits, slope = rng.standard_normal((2, classes))
    match kind:
        case "float32":
            return logits.astype(np.float32), slope.astype(np.float32)
        case "huge":
            return logits * 1e30, slope * 1e30
        case "tiny":
            return logits * 1e-30, slope * 1e-30
        case "huge logits":
            return logits * 1e30, slope * 1e-30
        case "any size":
            return logits * 10.0 ** rng.integers(-30, 31, classes), slope * 10.0 ** rng.integers(-30, 31, classes)
        case "near-parallel":
            return logits, 1.0 + rng.integers(-3, 4, classes) * 2.0**-52
        case "near-twins":
            return 1.0 + rng.integers(-3, 4, classes) * 2.0**-52, 1.0 + rng.integers(-3, 4, classes) * 2.0**-52
        case "through one point":
            return slope * 0.3 + 1.0, slope
        case _:
            raise AssertionError(kind)


KINDS = (
    "float32", "huge", "tiny", "huge logits", "any size", "near-parallel", "near-twins", "through one point"
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(seed=seeds)
def test_awkward_lines_are_wrong_by_rounding_only(kind: str, seed: int) -> None:
    logits, slope = awkward(kind, seed)
    steps = path_of(logits, slope)
    assert wrong_by(fractions(logits, slope), steps) < ROUNDING
    assert (steps[0][0], steps[-1][1]) == (-math.inf, math.inf)
    assert all(before[1] == after[0] for before, after in pairwise(steps))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(seed=seeds)
def test_awkward_intervals_end_where_exact_ones_do(kind: str, seed: int) -> None:
    logits, slope = awkward(kind, seed)
    expected = {index: (low, high) for low, high, index in exact_path(fractions(logits, slope))}
    labels = np.arange(len(logits))
    repeated = [np.tile(row, (len(labels), 1)) for row in (logits, slope)]
    for label, (low, high) in enumerate(winning_intervals(*repeated, labels)):
        near = ROUNDING * (abs(low) if math.isfinite(low) else abs(high))
        if label not in expected or np.isnan(low):  # then whichever has it has it by rounding
            a, b = expected.get(label, (low, high))
            assert np.isnan(low) == np.isnan(high)
            assert np.isnan(a) or b - a <= 2 * ROUNDING * max(abs(a), abs(b))
        else:
            np.testing.assert_allclose((low, high), expected[label], rtol=ROUNDING, atol=near * 1e-3)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(seed=seeds)
def test_the_top_1_and_the_winner_are_the_same(kind: str, seed: int) -> None:
    logits, slope = awkward(kind, seed)
    for label in range(len(logits)):
        arguments = logits[None], slope[None], np.array([label])
        union = top_k_intervals(*arguments, 1)[0]
        interval = winning_intervals(*arguments)
        np.testing.assert_array_equal(union, interval[~np.isnan(interval[:, 0])])


def test_5000_classes_that_all_win_are_all_found() -> None:
    index = np.arange(5000.0)
    # tangents of a parabola: class i wins from i - 1/2 to i + 1/2
    logits = -(index**2)
    slope = -2.0 * index
    ends = [-math.inf, *(index[:-1] + 0.5), math.inf]
    shuffled = np.random.default_rng(0).permutation(5000)
    place = np.argsort(shuffled)
    assert path_of(logits[shuffled], slope[shuffled]) == [
        (low, high, int(place[i])) for i, (low, high) in enumerate(pairwise(ends))
    ]
    some = np.array([0, 1, 2500, 4998, 4999])
    intervals = winning_intervals(np.tile(logits, (5, 1)), slope, some)
    assert intervals.tolist() == [[ends[i], ends[i + 1]] for i in some]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_5000_random_classes_have_the_exact_path(dtype: type) -> None:
    logits, slope = np.random.default_rng(1).standard_normal((2, 5000)).astype(dtype)
    steps = path_of(logits, slope)
    assert wrong_by(fractions(logits, slope), steps) < ROUNDING
    labels = np.array([index for _, _, index in steps])
    intervals = winning_intervals(np.tile(logits, (len(labels), 1)), np.tile(slope, (len(labels), 1)), labels)
    np.testing.assert_allclose(intervals, [step[:2] for step in steps], rtol=ROUNDING)
    never = np.setdiff1d(np.arange(5000), labels)[::50]
    assert np.isnan(winning_intervals(np.tile(logits, (len(never), 1)), slope, never)).all()


@pytest.mark.parametrize("classes", [1, 2, 50])
def test_lines_that_are_all_the_same_are_won_by_the_first(classes: int) -> None:
    for value in (0.0, 1.5, -1e30, 1e-30):
        same = np.full(classes, value)
        assert path_of(same, same) == [(-math.inf, math.inf, 0)]
        intervals = winning_intervals(np.tile(same, (classes, 1)), same, np.arange(classes))
        assert intervals[0].tolist() == [-math.inf, math.inf]
        assert np.isnan(intervals[1:]).all()


def test_without_slope_the_plain_winner_wins_everywhere() -> None:
    logits = np.array([1.0, 3.0, 3.0, 2.0])
    assert path_of(logits, np.zeros(4)) == path_of(logits, np.full(4, 1e30)) == [(-math.inf, math.inf, 1)]


def test_minus_zero_is_zero() -> None:
    logits = np.array([0.0, -0.0])
    slope = np.array([-0.0, 0.0])
    assert path_of(logits, slope) == [(-math.inf, math.inf, 0)]
    assert np.isnan(winning_intervals(logits[None], slope[None], np.array([1]))).all()


@settings(max_examples=60)
@given(seeds)
def test_the_path_agrees_with_what_classify_computes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((8, 30), dtype=np.float32) * 5
    cosine = rng.uniform(-0.2, 0.9, (8, 2)).astype(np.float32)
    effect = rng.standard_normal((2, 30), dtype=np.float32) * 2
    slope = tde.head_effect(cosine, effect)
    alphas = rng.uniform(-8, 8, 40)
    for alpha in alphas:
        answered = tde.tde_logits(logits, cosine, effect, float(alpha))
        first, second = np.sort(answered, axis=1)[:, :-3:-1].T
        clear = first - second > 1e-4  # float32 has 24 bits: numbers up to 80 are rounded by 8e-6, here some times over
        for image in np.flatnonzero(clear):
            steps = path_of(logits[image], slope[image])
            named = next(index for low, high, index in steps if low <= alpha < high)
            assert named == answered[image].argmax()


FIGURE_OF: dict[str, Callable[[list[Fraction], Fraction], Fraction]] = {
    "overall": lambda _, overall: overall,
    "balanced": lambda recalls, _: sum(recalls, Fraction(0)) / len(recalls),
    "harmonic": lambda recalls, _: len(recalls) / sum(1 / r for r in recalls) if all(recalls) else Fraction(0),
    "geometric": lambda recalls, _: math.prod(recalls, start=Fraction(1)),  # its C-th power: the same order
    "few": lambda recalls, _: sum(recalls[2:], Fraction(0)) / len(recalls[2:]),
    "medium": lambda recalls, _: recalls[1],
    "many": lambda recalls, _: recalls[0],
    "worst_class": lambda recalls, _: min(recalls),
}


def exact_optimum(logits: NDArray[Any], slope: NDArray[Any], labels: NDArray[Any], figure: str) -> Any:
    """The best value within -4..4 and the stretches that reach it."""
    lines = [fractions(*pair) for pair in zip(logits, slope, strict=True)]
    ends = {Fraction(-4), Fraction(4)}
    for image in lines:
        crossings = [(a[0] - b[0]) / (a[1] - b[1]) for a, b in combinations(set(image), 2) if a[1] != b[1]]
        ends |= {crossing for crossing in crossings if -4 < crossing < 4}
    values = []
    for low, high in pairwise(sorted(ends)):
        right = np.array([winner(image, (low + high) / 2) for image in lines]) == labels
        recalls = [Fraction(int(right[labels == c].sum()), int((labels == c).sum())) for c in range(4)]
        values.append((low, high, FIGURE_OF[figure](recalls, Fraction(int(right.sum()), len(labels)))))
    best = max(value for _, _, value in values)
    return best, [(low, high) for low, high, value in merged(values) if value == best]


@pytest.mark.parametrize("figure", OBJECTIVES)
@settings(max_examples=12)
@given(seed=seeds)
def test_the_optimum_is_that_of_exact_arithmetic(figure: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, slope = rng.integers(-3, 4, (2, 12, 4)).astype(np.float64)
    labels = np.arange(12) % 4
    value, stretches = exact_optimum(logits, slope, labels, figure)
    images = LabelledIntervals(labels, winning_intervals(logits, slope, labels), ("many", "medium", "few", "few"))
    best = optimum(images, Objective(figure, low=-4.0, high=4.0))
    assert best.value == pytest.approx(float(value) ** (0.25 if figure == "geometric" else 1.0), abs=1e-12)
    assert (best.low, best.high) in [(float(low), float(high)) for low, high in stretches]
    assert abs(best.alpha) == pytest.approx(min(abs(float(low + high) / 2) for low, high in stretches), abs=1e-12)


NUMBERS = (math.nan, math.inf, -math.inf)


@pytest.mark.parametrize("bad", NUMBERS)
@pytest.mark.parametrize("where", range(3))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_not_finite_is_refused_by_every_routine(bad: float, where: int, dtype: type) -> None:
    fine = np.ones((2, 3), dtype)
    one = np.array([0])
    spoilt = fine.copy()
    spoilt[1, where] = bad
    for logits, slope in ((spoilt, fine), (fine, spoilt)):
        with pytest.raises(ValueError, match="not finite"):
            winning_intervals(logits, slope, np.array([0, 0]))
        with pytest.raises(ValueError, match="not finite"):
            top_k_intervals(logits, slope, np.array([0, 0]), 2)
        with pytest.raises(ValueError, match="not finite"):
            alpha_path(logits[1], slope[1])
        with pytest.raises(ValueError, match="not finite"):
            match_prior(logits, slope, np.full(3, 1 / 3), low=-1.0, high=1.0)
    with pytest.raises(ValueError, match="not finite"):
        winning_intervals(fine[:1], spoilt[1], one)
    with pytest.raises(ValueError, match="not finite"):
        estimate_prior(spoilt, np.full(3, 1 / 3))
    with pytest.raises(ValueError, match="not finite"):
        match_prior(fine, fine, spoilt[1], low=-1.0, high=1.0)
    with pytest.raises(ValueError, match="finite number above 0"):
        prior_shift(spoilt[1], np.ones(3, np.int64))
    with pytest.raises(ValueError, match="weight is not finite"):
        accuracy_curve(np.tile([0.0, 1.0], (3, 1)), spoilt[1])


@pytest.mark.parametrize("ends", [(math.nan, 1.0), (0.0, math.nan), (1.0, 0.0), (math.inf, -math.inf)])
def test_an_interval_that_is_none_is_refused_by_its_index(ends: tuple[float, float]) -> None:
    intervals = np.array([(0.0, 1.0), (math.nan, math.nan), ends])
    with pytest.raises(ValueError, match="interval 2 runs from"):
        LabelledIntervals(np.zeros(3, np.int64), intervals, ("many",))
    with pytest.raises(ValueError, match="interval 2 runs from"):
        accuracy_curve(intervals, np.ones(3))
