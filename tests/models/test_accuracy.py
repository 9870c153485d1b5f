"""Accuracy curves against counting images one alpha at a time."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.accuracy import FIGURES, AccuracyCurve, LabelledIntervals, accuracy_curve
from models.alpha_path import winning_intervals
from models.errors import TuningError
from models.metrics import recall_figures

seeds = st.integers(0, 2**32 - 1)
GROUPS = ("many", "many", "medium", "few", "few")


def problem(seed: int, images: int = 40, *, whole_numbers: bool = False) -> LabelledIntervals:
    """Random images of five classes; whole numbers make many of their ends fall together."""
    rng = np.random.default_rng(seed)
    logits, slope = rng.standard_normal((2, images, 5))
    if whole_numbers:
        logits, slope = rng.integers(-3, 4, (2, images, 5)).astype(np.float64)
    labels = rng.integers(0, 5, images)
    return LabelledIntervals(labels, winning_intervals(logits, slope, labels), GROUPS)


def between_ends(images: LabelledIntervals) -> NDArray[Any]:
    """One alpha inside every step, and one beyond each end."""
    ends = np.unique(images.intervals[np.isfinite(images.intervals)])
    if not len(ends):
        return np.array([0.0])
    return np.concatenate([[ends[0] - 1], (ends[:-1] + ends[1:]) / 2, [ends[-1] + 1]])


def counted(images: LabelledIntervals, alpha: float) -> dict[str, float | None]:
    """Every figure from the images that are right at this alpha."""
    right = np.array([low < alpha < high for low, high in images.intervals.tolist()])
    recall = np.array([right[images.labels == c].mean() if (images.labels == c).any() else np.nan for c in range(5)])
    return {"overall": float(right.mean())} | recall_figures(recall, GROUPS)


@given(seeds, st.booleans())
def test_every_figure_is_exact_at_every_step(seed: int, whole_numbers: bool) -> None:
    images = problem(seed, whole_numbers=whole_numbers)
    curves = {name: images.curve(name) for name in images.figures}
    for alpha in between_ends(images):
        expected = counted(images, float(alpha))
        for name, curve in curves.items():
            assert curve.at(alpha) == pytest.approx(expected[name], abs=1e-9), name


@given(seeds)
def test_recall_of_each_class_is_exact(seed: int) -> None:
    images = problem(seed)
    present = np.flatnonzero(images.class_images)  # now and then a class has no image, and then no recall
    for alpha in between_ends(images)[::7]:
        recalls = images.recall_at(float(alpha))
        np.testing.assert_allclose([images.recall_curve(c).at(alpha) for c in present], recalls[present])
        assert np.isnan(np.delete(recalls, present)).all()


@given(seeds)
def test_any_weights_are_counted_exactly(seed: int) -> None:
    images = problem(seed)
    weights = np.random.default_rng(seed).uniform(-1, 1, len(images))
    curve = accuracy_curve(images.intervals, weights)
    for alpha in between_ends(images):
        right = (images.intervals[:, 0] < alpha) & (alpha < images.intervals[:, 1])
        assert curve.at(alpha) == pytest.approx(weights[right].sum(), abs=1e-9)


@given(seeds, st.sampled_from(FIGURES))
def test_an_image_that_counts_twice_is_as_good_as_two(seed: int, figure: str) -> None:
    images = problem(seed, 25)
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([rng.choice(np.flatnonzero(images.labels == c), (images.labels == c).sum())
                            for c in np.unique(images.labels)])  # fmt: skip
    resampled = LabelledIntervals(images.labels[drawn], images.intervals[drawn], GROUPS)
    if figure not in images.figures:
        return
    curve = images.curve(figure, np.bincount(drawn, minlength=len(images)))
    alphas = between_ends(images)
    np.testing.assert_allclose(curve.at(alphas), resampled.curve(figure).at(alphas), atol=1e-9)


def test_a_class_never_right_makes_harmonic_and_geometric_zero() -> None:
    nowhere = np.array([[-np.inf, np.inf], [np.nan, np.nan]])
    images = LabelledIntervals(np.array([0, 1]), nowhere, ("many", "few"))
    for figure in ("harmonic", "geometric", "worst_class"):
        assert images.curve(figure).values.tolist() == [0.0]


def test_a_group_without_images_is_absent_not_zero() -> None:
    images = LabelledIntervals(np.array([0, 0]), np.array([[0.0, 1.0], [0.5, 2.0]]), ("many", "few"))
    assert images.figures == ("overall", "balanced", "many", "harmonic", "geometric", "worst_class")
    with pytest.raises(TuningError, match="no labelled image of a few-shot class"):
        images.curve("few")
    with pytest.raises(TuningError, match="no image has the label 1"):
        images.recall_curve(1)
    assert np.isnan(images.recall_at(0.7)[1])


def test_no_images_have_no_figures_and_say_so() -> None:
    images = LabelledIntervals(np.zeros(0, np.int64), np.zeros((0, 2)), GROUPS)
    assert images.figures == ()
    with pytest.raises(TuningError, match="no labelled image at all"):
        images.curve("overall")


def test_one_image_right_as_another_turns_wrong_is_no_step() -> None:
    curve = accuracy_curve(np.array([[0.0, 1.0], [1.0, 2.0]]), np.array([0.5, 0.5]))
    assert curve.breakpoints.tolist() == [0.0, 2.0]


def test_weights_of_any_size_make_steps() -> None:
    curve = accuracy_curve(np.array([[0.0, 1.0], [0.5, 2.0]]), np.array([1e-30, 1e-30]))
    assert curve.breakpoints.tolist() == [0.0, 0.5, 1.0, 2.0]


def test_an_unknown_figure_is_refused_with_those_there_are() -> None:
    with pytest.raises(TuningError, match="unknown figure 'median'; figures are overall, balanced"):
        problem(0).curve("median")


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="fit"):
        accuracy_curve(np.zeros((3, 2)), np.zeros(2))
    with pytest.raises(ValueError, match="fits"):
        accuracy_curve(np.zeros((3, 3)), np.zeros(3))
    with pytest.raises(ValueError, match="a weight is not finite"):
        accuracy_curve(np.zeros((1, 2)), np.array([np.nan]))
    with pytest.raises(ValueError, match="not a number"):
        AccuracyCurve(np.array([]), np.array([0.5])).at(np.nan)
    with pytest.raises(ValueError, match="fit"):
        LabelledIntervals(np.zeros(2, np.int64), np.zeros((3, 2)), GROUPS)
    with pytest.raises(ValueError, match="labels run from 5 to 5"):
        LabelledIntervals(np.array([5]), np.zeros((1, 2)), GROUPS)
