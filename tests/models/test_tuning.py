"""Choosing alpha against brute force: every step tried, one alpha at a time."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import optimum as optimum_module
from models import scores as scores_module
from models import tde
from models.accuracy import FIGURES, LabelledIntervals
from models.alpha_path import winning_intervals
from models.errors import InfeasibleError, TuningError
from models.metrics import summarise
from models.objective import OBJECTIVES, Constraint, Objective
from models.optimum import confidence_interval, optimum
from models.scores import Scores
from models.tuning import cross_fitted, curve_points, figures_at, halves, tune, tune_intervals

seeds = st.integers(0, 2**32 - 1)
GROUPS = ("many", "many", "medium", "few")
COUNTS = np.array([500, 200, 50, 5])
EFFECT = np.array([[1.5, 0.8, -0.3, -1.2], [1.2, 0.6, 0.1, -1.0]])


def long_tailed(seed: int = 0, images: int = 400) -> Scores:
    """Images whose logits lean to the frequent classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 4
    logits = rng.normal(size=(images, 4)) + 2 * np.eye(4)[labels] + np.array([2.0, 1.0, 0.0, -1.0])
    slope = tde.head_effect(rng.uniform(0.3, 0.9, size=(images, 2)), EFFECT)
    return Scores(logits, slope, labels, GROUPS)


def coarse(seed: int) -> LabelledIntervals:
    """Whole-number lines: ties, parallel lines, many ends that fall together."""
    rng = np.random.default_rng(seed)
    logits, slope = rng.integers(-3, 4, (2, 24, 4)).astype(np.float64)
    labels = np.concatenate([np.arange(4), rng.integers(0, 4, 20)])
    return LabelledIntervals(labels, winning_intervals(logits, slope, labels), GROUPS)


def every_step(images: LabelledIntervals, low: float, high: float) -> np.ndarray[Any, Any]:
    """One alpha inside each step of [low, high]."""
    ends = np.unique(np.concatenate([[low, high], images.intervals[np.isfinite(images.intervals)]]))
    ends = ends[(ends >= low) & (ends <= high)]
    return (ends[:-1] + ends[1:]) / 2


@given(seeds, st.sampled_from(OBJECTIVES), st.integers(-40, 10), st.integers(1, 60))
def test_no_alpha_does_better_than_the_optimum(seed: int, figure: str, low_tenths: int, width_tenths: int) -> None:
    images = coarse(seed)
    low = low_tenths / 10
    width = width_tenths / 10
    best = optimum(images, Objective(figure, low=low, high=low + width))
    tried = [figures_at(images, float(alpha))[figure] for alpha in every_step(images, low, low + width)]
    assert best.value == pytest.approx(max(tried), abs=1e-9)
    assert figures_at(images, best.alpha)[figure] == pytest.approx(best.value, abs=1e-9)
    assert low <= best.low <= best.alpha <= best.high <= low + width


@given(seeds, st.sampled_from(OBJECTIVES), st.sampled_from(FIGURES), st.floats(0, 1))
def test_constraints_hold_at_the_optimum_and_cost_no_more_than_they_must(
    seed: int, figure: str, bound: str, at_least: float
) -> None:
    images = coarse(seed)
    objective = Objective(figure, (Constraint(bound, at_least),), -4.0, 4.0)
    steps = [figures_at(images, float(alpha)) for alpha in every_step(images, -4.0, 4.0)]
    allowed = [step[figure] for step in steps if step[bound] >= at_least - 1e-9]
    if not allowed:
        with pytest.raises(InfeasibleError, match=f"no alpha in -4..4 gives {bound} >= .*alone, {bound} reaches"):
            optimum(images, objective)
        return
    best = optimum(images, objective)
    assert best.value == pytest.approx(max(allowed), abs=1e-9)
    assert figures_at(images, best.alpha)[bound] >= at_least - 1e-9


@given(seeds)
def test_the_whole_best_interval_is_equally_good_and_ends_where_it_must(seed: int) -> None:
    images = coarse(seed)
    best = optimum(images, Objective("balanced", low=-4.0, high=4.0))
    for alpha in np.linspace(best.low, best.high, 9)[1:-1]:
        assert images.curve("balanced").at(alpha) == pytest.approx(best.value, abs=1e-9)
    for beyond in (best.low - 1e-6, best.high + 1e-6):
        if -4.0 < beyond < 4.0:
            assert images.curve("balanced").at(beyond) < best.value - 1e-9


def right_in(*intervals: tuple[float, float]) -> LabelledIntervals:
    return LabelledIntervals(np.zeros(len(intervals), np.int64), np.array(intervals), ("many", "few"))


def test_of_equal_optima_the_one_nearest_to_the_plain_classifier_is_chosen() -> None:
    images = right_in((-3.0, -2.0), (1.0, 2.0))
    assert (optimum(images, Objective("overall")).low, optimum(images, Objective("overall")).high) == (1.0, 2.0)
    assert optimum(images, Objective("overall", low=-5.0, high=0.0)).alpha == -2.5


def test_rounding_does_not_choose_between_equal_optima() -> None:
    three = right_in(*[(0.0, 1.0)] * 3, *[(5.0, 6.0)] * 3, (-np.inf, np.inf))
    assert optimum(three, Objective("overall", low=-1.0, high=7.0)).alpha == 0.5


def test_touching_stretches_of_equal_value_are_one() -> None:
    best = optimum(right_in((0.0, 1.0), (1.0, 2.0)), Objective("overall", low=-1.0, high=3.0))
    assert (best.low, best.high, best.alpha) == (0.0, 2.0, 1.0)


def test_an_unbounded_optimum_ends_with_the_range() -> None:
    best = optimum(right_in((1.0, np.inf)), Objective("overall", low=-2.0, high=3.0))
    assert (best.low, best.high, best.alpha) == (1.0, 3.0, 2.0)


def test_a_stretch_between_neighbouring_numbers_is_answered() -> None:
    low = 1.0
    best = optimum(right_in((low, np.nextafter(low, 2.0))), Objective("overall"))
    assert (best.alpha, best.value) == (low, 1.0)


def test_a_range_of_one_point_is_answered() -> None:
    assert optimum(right_in((0.0, 1.0)), Objective("overall", low=0.5, high=0.5)).alpha == 0.5


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (-np.inf, 0.0), (0.0, np.nan), (0.0, 1e7), (-1e308, 1e308)])
def test_a_range_that_is_none_is_refused(low: float, high: float) -> None:
    with pytest.raises(TuningError, match="the lower one first"):
        Objective(low=low, high=high)


def test_an_unknown_objective_is_refused_with_those_there_are() -> None:
    with pytest.raises(TuningError, match="unknown objective 'f1'; objectives are overall, balanced"):
        Objective("f1")


@pytest.mark.parametrize("text", ["overall >= 0.7", " overall>=.7", "overall >= 70%", "overall >= 70.0 %"])
def test_a_constraint_is_a_figure_and_a_share(text: str) -> None:
    assert Constraint.parse(text) == Constraint("overall", 0.7)
    assert Constraint.parse(str(Constraint.parse(text))) == Constraint("overall", 0.7)


@pytest.mark.parametrize(
    "text", ["", "overall", "overall > 0.7", "overall <= 0.7", "overall >= 70", "median >= 0.5", "overall >= -1",
             "overall >= nan", "overall >= 1.1.1", "overall >= 0.5; many >= 0.5", "x" * 10_000]
)  # fmt: skip
def test_what_is_no_constraint_is_refused_with_one_that_is(text: str) -> None:
    with pytest.raises(TuningError, match=r"write FIGURE >= VALUE, such as 'overall >= 0\.7'"):
        Constraint.parse(text)


def test_the_confidence_interval_holds_the_alpha_and_narrows_with_more_images() -> None:
    few, many = (long_tailed(1, images).labelled_intervals() for images in (80, 4000))
    widths = []
    for images in (few, many):
        low, high = confidence_interval(images, Objective())
        assert low <= optimum(images, Objective()).alpha <= high
        widths.append(high - low)
    assert widths[1] < widths[0]


def test_the_confidence_interval_covers_the_truth_about_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimum_module, "RESAMPLES", 80)
    truth = optimum(long_tailed(99, 40_000).labelled_intervals(), Objective("overall")).alpha
    covered = 0
    for seed in range(40):
        images = long_tailed(seed, 200).labelled_intervals()
        low, high = confidence_interval(images, Objective("overall"))
        covered += low <= truth <= high
    assert covered >= 34  # of 40; 95 % is nominal, and a step function's optimum is a hard case for the bootstrap


def test_samples_without_an_optimum_do_not_make_the_interval_look_surer_than_it_is() -> None:
    images = long_tailed(5, 200).labelled_intervals()
    best = optimum(images, Objective("worst_class")).value
    tight = Objective("balanced", (Constraint("worst_class", best),))
    assert confidence_interval(images, tight) is None  # most samples cannot reach the best value of all images
    assert tune_intervals(images, tight)["confidence_interval"] is None


def test_a_handful_of_images_has_no_confidence_interval() -> None:
    one = right_in((0.5, 2.0))
    assert confidence_interval(one, Objective("overall")) is None
    assert tune_intervals(one, Objective("overall"))["classes_without_images"] == 1


def test_long_work_can_be_ended_from_outside() -> None:
    asked = []

    def check() -> None:
        asked.append(True)
        if len(asked) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(long_tailed(), COUNTS, Objective(), check)
    assert len(asked) == 3


def test_the_same_images_give_the_same_confidence_interval() -> None:
    images = long_tailed().labelled_intervals()
    assert confidence_interval(images, Objective()) == confidence_interval(images, Objective())


def test_halves_split_every_class_evenly_and_always_alike() -> None:
    labels = np.arange(101) % 4
    first = halves(labels)
    assert np.array_equal(first, halves(labels))
    assert np.abs(np.bincount(labels[first]) - np.bincount(labels[~first])).max() <= 1


def test_cross_fitting_never_scores_an_image_with_an_alpha_chosen_on_it() -> None:
    images = long_tailed().labelled_intervals()
    first = halves(images.labels)
    pairs = [(images.part(chosen), images.part(~chosen)) for chosen in (first, ~first)]
    alphas = [optimum(fitted, Objective()).alpha for fitted, _ in pairs]
    scored = [figures_at(other, alpha)["balanced"] for (_, other), alpha in zip(pairs, alphas, strict=True)]
    fitted = cross_fitted(images, Objective())
    assert fitted["alphas"] == alphas
    assert fitted["balanced"] == pytest.approx(np.mean(scored))


@pytest.mark.parametrize("images", [0, 1])
def test_too_few_images_have_nothing_to_cross_fit(images: int) -> None:
    assert cross_fitted(long_tailed().labelled_intervals().part(slice(images)), Objective("overall")) is None


@settings(max_examples=20)
@given(seeds)
def test_the_report_says_what_the_probabilities_say(seed: int) -> None:
    scores = long_tailed(seed)
    report = tune(scores, COUNTS, Objective())
    for knob, lines, figures in (
        (report["alpha"], scores, report["after"]),
        (0.0, scores, report["before"]),
        (report["logit_adjustment"]["strength"], scores.logit_adjustment(COUNTS), report["logit_adjustment"]["after"]),
    ):
        probabilities = lines.probabilities(knob)
        expected = summarise(probabilities.argmax(axis=1), probabilities.max(axis=1), scores.labels, GROUPS)
        assert figures == pytest.approx(expected, abs=1e-6)  # confidence is kept as float32
    assert report["gain"]["few"] == pytest.approx(report["after"]["few"] - report["before"]["few"])
    assert report["after"]["balanced"] == pytest.approx(report["value"])


def test_logit_adjustment_is_tuned_as_well_as_alpha() -> None:
    scores = long_tailed()
    adjusted = scores.logit_adjustment(COUNTS)
    tried = []
    for strength in np.linspace(-8, 8, 1601):
        probabilities = adjusted.probabilities(float(strength))
        figures = summarise(probabilities.argmax(axis=1), probabilities.max(axis=1), scores.labels, GROUPS)
        tried.append(figures["balanced"])
    report = tune(scores, COUNTS, Objective())["logit_adjustment"]
    assert report["value"] >= max(tried) - 1e-9
    assert report["interval"][0] <= report["strength"] <= report["interval"][1]


def test_a_class_never_seen_in_training_leaves_logit_adjustment_out() -> None:
    assert tune(long_tailed(), np.array([500, 200, 50, 0]), Objective())["logit_adjustment"] is None


def test_slopes_worked_out_in_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    labels = np.arange(100) % 4
    cosine = rng.uniform(0.3, 0.9, size=(100, 2))
    logits = rng.normal(size=(100, 4)) + np.array([2.0, 1.0, 0.0, -1.0])
    whole = Scores(logits, tde.head_effect(cosine, EFFECT), labels, GROUPS)
    pieces = Scores(logits, EFFECT, labels, GROUPS, head_cosine=cosine)
    expected = tune(whole, COUNTS, Objective())
    monkeypatch.setattr(scores_module, "_CHUNK_ELEMENTS", 28)  # seven images at a time
    report = tune(pieces, COUNTS, Objective())
    assert report["before"] == pytest.approx(expected["before"])
    assert report["after"] == pytest.approx(expected["after"])
    assert report["interval"] == pytest.approx(expected["interval"])
    assert report["logit_adjustment"] == expected["logit_adjustment"]
    chosen = labels > 1
    np.testing.assert_allclose(pieces.part(chosen).probabilities(1.2), whole.part(chosen).probabilities(1.2))


def test_labels_alone_give_the_same_alpha_as_the_images() -> None:
    scores = long_tailed()
    full = tune(scores, COUNTS, Objective())
    short = tune_intervals(scores.labelled_intervals(), Objective())
    shared = ("alpha", "interval", "confidence_interval", "cross_fitted", "curve", "images")
    assert {name: full[name] for name in shared} == {name: short[name] for name in shared}


@pytest.mark.parametrize("objective", [Objective(), Objective(low=6.0, high=7.0), Objective("many", low=-7.0)])
def test_the_reports_curve_holds_the_chosen_alpha_and_stays_in_the_range(objective: Objective) -> None:
    report = tune_intervals(long_tailed().labelled_intervals(), objective)
    alphas = report["curve"]["alphas"]
    assert report["alpha"] in alphas
    assert objective.low <= alphas[0] < alphas[-1] <= objective.high


def test_the_curve_is_read_from_the_steps_and_holds_alpha_zero() -> None:
    images = long_tailed().labelled_intervals()
    points = curve_points(images, low=-1.0, high=2.0, points=8)
    assert points["alphas"] == sorted(points["alphas"])
    assert 0.0 in points["alphas"]
    for name, values in points["figures"].items():
        assert values == pytest.approx([figures_at(images, alpha)[name] for alpha in points["alphas"]])


def test_an_exempt_class_is_refused_not_answered_wrongly() -> None:
    with pytest.raises(TuningError, match="exempt class is not supported"):
        tune(replace(long_tailed(), exempt_class=1), COUNTS, Objective())


def test_no_image_of_the_objectives_group_is_said() -> None:
    scores = long_tailed()
    with pytest.raises(TuningError, match="no labelled image of a few-shot class"):
        tune(scores.part(scores.labels != 3), COUNTS, Objective("few"))


@pytest.mark.parametrize("exempt", [0, 1, 3])
def test_among_the_others_the_winner_is_that_of_the_exempt_probabilities(exempt: int) -> None:
    scores = replace(long_tailed(), exempt_class=exempt)
    others = np.delete(np.arange(len(scores.groups)), exempt)
    left = scores.among_others()
    kept = scores.labels != exempt
    assert (left.exempt_class, len(left), left.groups) == (None, kept.sum(), tuple(scores.groups[i] for i in others))
    np.testing.assert_array_equal(others[left.labels], scores.labels[kept])
    for alpha in (-1.0, 0.0, 0.7, 3.0):
        served = scores.probabilities(alpha)[kept][:, others]
        np.testing.assert_array_equal(left.top_1(alpha)[0], served.argmax(axis=1))
    assert long_tailed().among_others().exempt_class is None


def test_among_the_others_slopes_are_worked_out_from_head_cosines_too() -> None:
    whole = replace(long_tailed(), exempt_class=2)
    cosine = np.random.default_rng(0).uniform(0.3, 0.9, size=(400, 2))
    pieces = replace(whole, slope=EFFECT, head_cosine=cosine)
    whole = replace(whole, slope=tde.head_effect(cosine, EFFECT))
    for one, other in zip(pieces.among_others().top_1(1.3), whole.among_others().top_1(1.3), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)  # float32 confidences
