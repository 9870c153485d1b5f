"""Probabilities that are right as often as they say, for the training set's class frequencies.

The class frequencies of unlabelled traffic can be estimated (`models.prior.estimate_prior`), but only from
probabilities calibrated for the frequencies the classifier was trained on. Bias-corrected temperature scaling does that
with C + 1 numbers: p = softmax(logits / T + b), fitted to labelled images by maximum likelihood (Alexandari, Kundaje &
Shrikumar, ICML 2020, arXiv:1901.06852). Our labelled images have other class frequencies than the training set, a test
split even equal ones, so each counts p_train(y) / p_labelled(y).

A class with few images, or one that is never mistaken, would pull its bias and the temperature without bound. A small
L2 penalty, SHRINKAGE·(Σ_c b_c² + (log T)²) / N nats, keeps them finite and near T = 1, b = 0, the classifier's own
probabilities, where few images speak; where many do, it does not show.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.prior import Calibration, log_prior
from training.errors import TrainingError

__all__ = ["SHRINKAGE", "fit_calibration"]

SHRINKAGE = 0.1  # at 5,000 images, less than the sampling error of what is fitted (LOG.md)
MAX_STEPS = 500


def fit_calibration(
    logits: NDArray[np.floating[Any]], labels: NDArray[np.int64], class_counts: NDArray[np.integer[Any]]
) -> Calibration:
    """Fit temperature and bias on labelled images, for the training set's class frequencies.

    Args:
        logits: (N, C) at α = 0.
        labels: (N,) class indices.
        class_counts: (C,) training images of each class, all above 0.

    Raises:
        ValueError: a class without training images.
        TrainingError: no images, or the fit does not end in finite numbers.

    """
    if not len(labels):
        raise TrainingError("there is no labelled image to calibrate on")
    images = np.bincount(labels, minlength=len(class_counts))
    weight = np.exp(log_prior(class_counts))[labels] / images[labels]
    weights = torch.from_numpy(weight / weight.sum())
    scores = torch.from_numpy(np.array(logits, np.float64))
    targets = torch.from_numpy(np.array(labels))
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(class_counts), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [log_temperature, bias],
        max_iter=MAX_STEPS,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        losses = torch.nn.functional.cross_entropy(scores / log_temperature.exp() + bias, targets, reduction="none")
        penalty = bias.square().sum() + log_temperature.square()
        total: torch.Tensor = weights @ losses + SHRINKAGE / len(labels) * penalty
        total.backward()
        return total

    optimiser.step(loss)
    fitted = Calibration(float(log_temperature.detach().exp()), bias.detach().numpy())
    if not (np.isfinite(fitted.temperature) and fitted.temperature > 0 and np.isfinite(fitted.bias).all()):
        raise TrainingError("calibration did not end in finite numbers; are the logits finite?")
    return fitted
