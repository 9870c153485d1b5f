"""Fit a calibration: probabilities that are right as often as they say, for the training set's class frequencies.

The class frequencies of unlabelled traffic can be estimated (`models.prior.estimate_prior`), but only from
probabilities that are calibrated for the training set's frequencies. Bias-corrected temperature scaling calibrates them
with C + 1 parameters: p = softmax(logits / T + b), fitted to labelled images by maximum likelihood (Alexandari, Kundaje
& Shrikumar, ICML 2020, arXiv:1901.06852). The labelled images have other class frequencies than the training set (in a
test split they are often equal), so each image has the weight p_train(y) / p_labelled(y).

A class with few images, or one that is never confused, would pull its bias and the temperature without bound. A small
L2 penalty, SHRINKAGE·(Σ_c b_c² + (log T)²) / N nats, keeps them finite. If there are few images, it keeps them near
T = 1 and b = 0, the classifier's own probabilities; if there are many, its effect is negligible.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.prior import Calibration, log_prior
from training.errors import TrainingError

__all__ = ["SHRINKAGE", "fit_calibration"]

SHRINKAGE = 0.1  # at 5,000 images its effect is below the sampling error of the fit (LOG.md)
MAX_STEPS = 500


def fit_calibration(
    logits: NDArray[np.floating[Any]], labels: NDArray[np.int64], class_counts: NDArray[np.integer[Any]]
) -> Calibration:
    """Fit temperature and bias to labelled images, for the training set's class frequencies.

    Args:
        logits: (N, C) logits at α = 0.
        labels: (N,) class indices.
        class_counts: (C,) training images of each class, all above 0.

    Raises:
        ValueError: a class has no training images.
        TrainingError: there are no images, or the fit does not give finite numbers.

    """
    if not len(labels):
        raise TrainingError("there are no labelled images to calibrate on")
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
        raise TrainingError("the calibration did not give finite numbers; are the logits finite?")
    return fitted
