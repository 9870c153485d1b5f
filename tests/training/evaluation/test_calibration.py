"""Calibration for the training set's class frequencies, on synthetic data whose true calibration is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.prior import estimate_prior
from models.tde import softmax
from training.errors import TrainingError
from training.evaluation.calibration import fit_calibration

COUNTS = np.array([600, 300, 80, 20])
TRAIN_PRIOR = COUNTS / COUNTS.sum()
TEMPERATURE = 1.6
BIAS = np.array([0.5, 0.0, -0.2, -0.3])


def world(
    prior: NDArray[np.float64], images: int = 40_000, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return logits that are wrong by a temperature and a bias, and labels with these class frequencies."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, size=images, p=prior)
    seen = rng.normal(size=(images, 4)) + 2.0 * np.eye(4)[labels]
    exact = np.log(TRAIN_PRIOR) + 2.0 * seen  # of Gaussians with equal widths: log p(x|c) is linear
    return (exact - BIAS) * TEMPERATURE, labels


def test_the_fit_finds_the_calibration_from_images_with_other_frequencies() -> None:
    fitted = fit_calibration(*world(np.full(4, 0.25)), COUNTS)
    assert fitted.temperature == pytest.approx(TEMPERATURE, rel=0.03)  # sampling error of 40,000 images
    np.testing.assert_allclose(fitted.bias - fitted.bias.mean(), BIAS - BIAS.mean(), atol=0.1)


def test_calibrated_probabilities_estimate_the_frequencies_of_traffic() -> None:
    fitted = fit_calibration(*world(np.full(4, 0.25)), COUNTS)
    traffic = np.array([0.1, 0.2, 0.3, 0.4])
    logits, _ = world(traffic, seed=1)
    calibrated, raw = (
        np.abs(estimate_prior(p, TRAIN_PRIOR) - traffic).sum() for p in (fitted.probabilities(logits), softmax(logits))
    )
    assert calibrated < 0.03
    assert calibrated < raw / 3


def test_the_result_does_not_depend_on_the_order_of_images_or_on_the_call() -> None:
    logits, labels = world(np.full(4, 0.25), 500)
    first = fit_calibration(logits, labels, COUNTS)
    again = fit_calibration(logits, labels, COUNTS)
    reversed_order = fit_calibration(logits[::-1], labels[::-1], COUNTS)
    assert (first.temperature, first.bias.tolist()) == (again.temperature, again.bias.tolist())
    np.testing.assert_allclose(reversed_order.bias, first.bias, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4, 1e6])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_three_images_give_finite_numbers(scale: float, sign: float) -> None:
    fitted = fit_calibration(sign * scale * np.eye(4)[:3], np.arange(3), COUNTS)
    assert 0 < fitted.temperature < np.inf
    assert np.isfinite(fitted.bias).all()
    assert np.isfinite(fitted.probabilities(sign * scale * np.eye(4))).all()


def test_few_images_give_a_small_bias() -> None:
    logits, labels = world(np.full(4, 0.25), 40)
    assert np.abs(fit_calibration(logits, labels, COUNTS).bias).max() < 3.0


def test_data_that_cannot_be_calibrated_raises_with_the_reason() -> None:
    with pytest.raises(TrainingError, match="no labelled images to calibrate on"):
        fit_calibration(np.zeros((0, 4)), np.zeros(0, np.int64), COUNTS)
    with pytest.raises(TrainingError, match="did not give finite numbers"):
        fit_calibration(np.full((3, 4), np.nan), np.arange(3), COUNTS)
    with pytest.raises(ValueError, match="1 of 4 classes have no training images"):
        fit_calibration(np.zeros((3, 4)), np.arange(3), np.array([5, 0, 1, 1]))
