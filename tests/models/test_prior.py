"""Class frequencies: asked for, matched, estimated."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import TuningError
from models.prior import Calibration, estimate_prior, log_prior, match_prior, prior_shift, target_prior
from models.tde import softmax

NAMES = ("cat", "dog", "lynx")
COUNTS = np.array([600, 300, 100])


def test_a_shift_to_the_training_prior_changes_nothing() -> None:
    np.testing.assert_allclose(prior_shift(target_prior("train", NAMES, COUNTS), COUNTS), 0.0, atol=1e-15)


def test_a_shift_turns_posteriors_for_one_prior_into_those_for_another() -> None:
    likelihood = np.random.default_rng(0).uniform(0.1, 1.0, (50, 3))
    target = target_prior({"cat": 1, "dog": 1, "lynx": 2}, NAMES, COUNTS)
    posterior = likelihood * (COUNTS / COUNTS.sum())
    expected = likelihood * target
    shifted = softmax(np.log(posterior) + prior_shift(target, COUNTS))
    np.testing.assert_allclose(shifted, expected / expected.sum(axis=1, keepdims=True))


def test_only_the_ratios_of_the_weights_matter() -> None:
    one, other = ({name: scale * weight for name, weight in zip(NAMES, (1, 2, 5), strict=True)} for scale in (1, 1e6))
    np.testing.assert_allclose(target_prior(one, NAMES, COUNTS), target_prior(other, NAMES, COUNTS))


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("even", "'even' is neither 'train' nor 'uniform'"),
        ({}, "neither 'train' nor 'uniform'"),
        ({"cat": 1, "dog": 1, "cow": 1}, "'cow' is not a class of this model"),
        ({"cat": 1, "dog": 1}, "lacks 1 of 3 classes, such as 'lynx'"),
        ({"cat": 1, "dog": 1, "lynx": 0}, "above 0"),
        ({"cat": 1, "dog": 1, "lynx": -1}, "above 0"),
        ({"cat": 1, "dog": 1, "lynx": np.nan}, "finite"),
        ({"cat": 1, "dog": 1, "lynx": np.inf}, "finite"),
        ({"cat": 1e308, "dog": 1e308, "lynx": 1}, "finite"),
        ({"cat": 1e300, "dog": 1, "lynx": 1e-300}, "above 0"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused(wanted: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        target_prior(wanted, NAMES, COUNTS)


def test_a_class_without_training_images_has_no_prior_to_shift_from() -> None:
    with pytest.raises(ValueError, match=r"1 of 3 classes have no training images \(the first has index 2\)"):
        log_prior(np.array([5, 5, 0]))
    with pytest.raises(ValueError, match="above 0 for each of 3"):
        prior_shift(np.array([0.5, 0.5]), COUNTS)


def leaning(seed: int, images: int = 300) -> tuple[Any, Any]:
    """Logits that prefer the first class, and slopes that can take it out."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, 3)) + np.array([2.0, 0.5, -1.0])
    return logits, rng.uniform(0.5, 1.0, (images, 1)) * np.array([1.5, 0.2, -1.2])


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, 1, 1), (1, 2, 7), (8, 1, 1)]))
def test_no_alpha_of_a_dense_grid_matches_the_target_better(seed: int, weights: tuple[int, int, int]) -> None:
    logits, slope = leaning(seed)
    target = np.array(weights) / sum(weights)
    found = match_prior(logits, slope, target, low=-4.0, high=4.0)
    for alpha in np.linspace(-4, 4, 801):
        mean = softmax(logits - alpha * slope).mean(axis=0)
        assert found.divergence <= (target * np.log(target / mean)).sum() + 1e-7
    np.testing.assert_allclose(found.predicted, softmax(logits - found.alpha * slope).mean(axis=0))
    assert found.divergence <= found.divergence_at_zero


def test_traffic_that_already_fits_keeps_the_plain_classifier() -> None:
    logits, slope = leaning(4)
    found = match_prior(logits, slope, softmax(logits).mean(axis=0), low=-8.0, high=8.0)
    assert found.alpha == pytest.approx(0.0, abs=1e-3)
    assert found.divergence == pytest.approx(0.0, abs=1e-6)


def test_slopes_that_change_nothing_keep_the_plain_classifier() -> None:
    logits, slope = leaning(4)
    assert match_prior(logits, 0.0 * slope, np.full(3, 1 / 3), low=-8.0, high=8.0).alpha == pytest.approx(0, abs=0.26)


def test_probabilities_that_underflow_give_a_finite_divergence() -> None:
    logits = np.array([[0.0, 5000.0, 0.0]])
    slope = np.array([[1.0, 0.0, -1.0]])
    found = match_prior(logits, slope, np.full(3, 1 / 3), low=-8.0, high=8.0)
    assert np.isfinite([found.alpha, found.divergence]).all()


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, 1, 1), (1, 3, 16), (10, 5, 5)]))
def test_the_frequencies_of_traffic_are_found_without_labels(seed: int, weights: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    truth = np.array(weights) / sum(weights)
    train = COUNTS / COUNTS.sum()
    labels = rng.choice(3, 20_000, p=truth)
    features = rng.normal(size=(len(labels), 3)) + 1.5 * np.eye(3)[labels]
    posterior = softmax(1.5 * features + np.log(train))  # exact for Gaussians of unit variance
    np.testing.assert_allclose(estimate_prior(posterior, train), truth, atol=0.02)  # 3 sigma of 20,000 images


def test_the_estimate_is_the_maximum_of_the_likelihood() -> None:
    rng = np.random.default_rng(3)
    train = COUNTS / COUNTS.sum()
    probabilities = rng.dirichlet(np.ones(3), 200)
    best = estimate_prior(probabilities, train)

    def likelihood(prior: Any) -> float:
        return float(np.log(probabilities / train @ prior).mean())

    assert all(likelihood(best) >= likelihood(other) - 1e-9 for other in rng.dirichlet(np.ones(3), 2000))


def test_the_leaps_lead_where_the_plain_iteration_does() -> None:
    rng = np.random.default_rng(8)
    train = COUNTS / COUNTS.sum()
    probabilities = rng.dirichlet(0.3 * np.ones(3), 500)
    plain = train
    for _ in range(20_000):
        evidence = (probabilities / train) @ plain
        plain = plain * (probabilities / train / evidence[:, None]).mean(axis=0)
    np.testing.assert_allclose(estimate_prior(probabilities, train), plain, atol=1e-5)


def test_an_estimate_that_still_moves_is_refused() -> None:
    probabilities = np.random.default_rng(3).dirichlet(np.ones(3), 200)
    with pytest.raises(TuningError, match="still moved after 1 steps"):
        estimate_prior(probabilities, COUNTS / COUNTS.sum(), max_steps=1)


def test_a_range_of_one_point_and_a_huge_one_are_answered() -> None:
    logits, slope = leaning(4)
    target = np.full(3, 1 / 3)
    assert match_prior(logits, slope, target, low=0.5, high=0.5).alpha == pytest.approx(0.5)
    assert len(match_prior(logits, slope, target, low=-1e6, high=1e6).alphas) == 129


def test_calibration_scales_and_shifts() -> None:
    logits = np.array([[2.0, 0.0, -2.0]])
    bias = np.array([0.0, 0.5, 0.0])
    expected = softmax(np.array([[1.0, 0.5, -1.0]]))
    np.testing.assert_allclose(Calibration(2.0, bias).probabilities(logits), expected)


def test_no_traffic_is_said() -> None:
    none = np.zeros((0, 3))
    with pytest.raises(TuningError, match="no traffic to choose alpha from"):
        match_prior(none, none, np.full(3, 1 / 3), low=-1.0, high=1.0)
    with pytest.raises(TuningError, match="no traffic to estimate"):
        estimate_prior(none, np.full(3, 1 / 3))


def test_shapes_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="fit"):
        match_prior(np.zeros((2, 3)), np.zeros((2, 2)), np.full(3, 1 / 3), low=-1.0, high=1.0)
    with pytest.raises(ValueError, match="give finite numbers"):
        match_prior(np.zeros((2, 3)), np.zeros((2, 3)), np.full(3, 1 / 3), low=1.0, high=0.5)
    with pytest.raises(ValueError, match="fit"):
        estimate_prior(np.zeros((2, 3)), np.array([1.0, 0.0, 0.0]))
