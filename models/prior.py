"""How frequent the classes are: in training, in today's traffic, and in what a caller expects.

A classifier trained on p_train prefers its frequent classes. If the caller knows the class frequencies to expect,
adding log p_target − log p_train to the logits moves the prediction there (Menon et al., ICLR 2021, arXiv:2007.07314).
If the frequencies are unknown, unlabelled traffic gives two things: the alpha at which the mean predicted distribution
is closest to a target (`match_prior`), and, from calibrated probabilities, the traffic's own class frequencies by
expectation maximisation (`estimate_prior`; Saerens, Latinne & Decaestecker, Neural Computation 14, 2002; calibrated by
bias-corrected temperature scaling: Alexandari, Kundaje & Shrikumar, ICML 2020, arXiv:1901.06852). Shapes: N images, C
classes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.class_names import ClassIndices
from models.errors import TuningError
from models.optimum import go_on
from models.tde import MAX_ALPHA, softmax

__all__ = ["Calibration", "PriorMatch", "estimate_prior", "log_prior", "match_prior", "prior_shift", "target_prior"]

Float = NDArray[np.floating[Any]]
Float64 = NDArray[np.float64]

_CHUNK_ELEMENTS = 1 << 16
_GRID_STEP = 0.25
_MAX_GRID_STEPS = 128
_PRIOR_TOLERANCE = 1e-7  # of a class frequency, in one step
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_ALPHA_TOLERANCE = 1e-4


def log_prior(class_counts: NDArray[np.integer[Any]]) -> Float64:
    """Return (C,) log p_train of (C,) training images per class.

    Raises:
        ValueError: a class without training images: log 0 is not finite.

    >>> np.exp(log_prior(np.array([3, 1]))).round(6).tolist()
    [0.75, 0.25]

    """
    if (missing := np.flatnonzero(class_counts < 1)).size:
        raise ValueError(
            f"{missing.size} of {len(class_counts)} classes have no training images (the first has index "
            f"{missing[0]}), so there is no log prior to adjust by"
        )
    counts = np.asarray(class_counts, np.float64)
    return np.asarray(np.log(counts) - np.log(counts.sum()))


def target_prior(
    wanted: str | Mapping[str, float], class_names: Sequence[str], class_counts: NDArray[np.integer[Any]]
) -> Float64:
    """Return (C,) the class frequencies a caller asks for, summing to 1.

    Args:
        wanted: `train`, `uniform`, or a weight for every class; only their ratios matter.
        class_names: C names.
        class_counts: (C,) training images of each class.

    Raises:
        ValueError: another word, a class missing or unknown, a weight that is not a finite number above 0.

    >>> target_prior({"cat": 1, "dog": 3}, ("cat", "dog"), np.array([5, 5])).tolist()
    [0.25, 0.75]

    """
    if wanted == "uniform":
        return np.full(len(class_names), 1.0 / len(class_names))
    if wanted == "train":
        return np.exp(log_prior(class_counts))
    weight_of = {} if isinstance(wanted, str) else wanted
    if not weight_of:
        raise ValueError(f"prior {wanted!r:.64} is neither 'train' nor 'uniform' nor an object of class weights")
    if weight_of.keys() != set(class_names):
        weight_of = _by_own_names(weight_of, class_names)
    weights = np.array([weight_of[name] for name in class_names], np.float64)
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not (np.isfinite(total) and (weights > 0).all() and (weights / total > 0).all()):
        raise ValueError("prior: every weight must be a finite number above 0, and their sum finite")
    return np.asarray(weights / total)


def _by_own_names(weight_of: Mapping[str, float], class_names: Sequence[str]) -> dict[str, float]:
    """Return the weights by the names as the model holds them; see `class_names.py`."""
    indices = ClassIndices(class_names)
    given: dict[str, str] = {}
    for name in weight_of:
        if name not in indices:
            raise ValueError(f"prior: {name[:64]!r} is not a class of this model")
        if (other := given.setdefault(class_names[indices[name]], name)) != name:
            raise ValueError(f"prior: {other[:64]!a} and {name[:64]!a} are one class; give it one weight")
    if missing := [name for name in class_names if name not in given]:
        raise ValueError(
            f"prior lacks {len(missing)} of {len(class_names)} classes, such as {missing[0]!r}; give each a weight"
        )
    return {name: weight_of[given[name]] for name in class_names}


def prior_shift(target: Float64, class_counts: NDArray[np.integer[Any]]) -> Float64:
    """Return (C,) log p_target − log p_train, to be added to the logits at any alpha.

    Raises:
        ValueError: the shapes disagree, a target is not a finite number above 0, or a class has no training images.

    """
    if target.shape != class_counts.shape or not ((target > 0) & (target < np.inf)).all():
        raise ValueError(f"a target prior needs a finite number above 0 for each of {len(class_counts)} classes")
    return np.asarray(np.log(target) - log_prior(class_counts))


@dataclass(frozen=True, slots=True, eq=False)
class PriorMatch:
    """The alpha at which unlabelled traffic, as predicted, looks most like the target.

    Args:
        alpha: where the divergence is lowest.
        divergence: KL(target ‖ mean prediction) there, in nats.
        divergence_at_zero: the same at alpha 0.
        predicted: (C,) mean predicted distribution at `alpha`.
        predicted_at_zero: (C,) the same at alpha 0.
        alphas: (G,) the grid that was looked at first.
        divergences: (G,) the divergence there.

    """

    alpha: float
    divergence: float
    divergence_at_zero: float
    predicted: Float64
    predicted_at_zero: Float64
    alphas: Float64
    divergences: Float64


def match_prior(
    logits: Float, slope: Float, target: Float, *, low: float, high: float, check: Callable[[], None] = go_on
) -> PriorMatch:
    """Return the alpha in [low, high] with the lowest KL(target ‖ mean_n softmax(logits_n − alpha·slope_n)).

    The divergence is smooth in alpha but may have several minima: a grid of step 0.25 (of 128 steps, where that is
    fewer) finds the deepest, golden-section search refines it to 1e-4. Of equal grid points the one nearest to 0 is
    refined.

    Args:
        logits: (N, C) of unlabelled images at alpha 0.
        slope: (N, C) `tde.head_effect`.
        target: (C,) sums to 1.
        low: least alpha.
        high: largest alpha.
        check: called before every alpha; what it raises ends the work.

    Raises:
        TuningError: there is no image.
        ValueError: the shapes disagree, a number is not finite, or the range is none.

    """
    if logits.ndim != 2 or logits.shape != slope.shape or target.shape != logits.shape[1:]:
        raise ValueError(f"logits {logits.shape}, slope {slope.shape}, target {target.shape}; (N, C), (N, C), (C,) fit")
    if not len(logits):
        raise TuningError("there is no traffic to choose alpha from; classify some images first")
    if not -MAX_ALPHA <= low <= high <= MAX_ALPHA:
        raise ValueError(f"alpha was to be chosen in [{low}, {high}]; give finite numbers, the lower one first")
    if not all(np.isfinite(numbers).all() for numbers in (logits, slope, target)):
        raise ValueError("logits, slopes or the target are not finite")

    def divergence(alpha: float) -> float:
        check()
        return _divergence(target, _mean_prediction(logits, slope, alpha))

    steps = min(math.ceil((high - low) / _GRID_STEP), _MAX_GRID_STEPS)
    grid = np.linspace(low, high, max(1, steps) + 1)
    on_grid = np.array([divergence(alpha) for alpha in grid])
    lowest = np.flatnonzero(on_grid <= on_grid.min() + 1e-12)
    best = lowest[np.abs(grid[lowest]).argmin()]
    alpha = _golden_section(divergence, grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    alpha = min((alpha, float(grid[best])), key=divergence)
    predicted, at_zero = (_mean_prediction(logits, slope, value) for value in (alpha, 0.0))
    return PriorMatch(
        alpha, _divergence(target, predicted), _divergence(target, at_zero), predicted, at_zero, grid, on_grid
    )


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Bias-corrected temperature scaling: p = softmax(logits / temperature + bias), calibrated for p_train.

    Args:
        temperature: above 0.
        bias: (C,).

    """

    temperature: float
    bias: Float64

    def probabilities(self, logits: Float) -> Float:
        """Return (N, C) calibrated probabilities of (N, C) logits at alpha 0."""
        return softmax(logits.astype(np.float64) / self.temperature + self.bias)


def estimate_prior(
    probabilities: Float, train_prior: Float, *, max_steps: int = 2000, check: Callable[[], None] = go_on
) -> Float64:
    """Return (C,) the class frequencies of unlabelled images, by expectation maximisation (Saerens et al., 2002).

    Repeats p(c) ← mean_n [ p(c)/p_train(c) · p_n(c) / Σ_j p(j)/p_train(j) · p_n(j) ] until nothing moves: the maximum
    likelihood estimate, which is only as good as the probabilities are calibrated for the training distribution. Two
    steps are extrapolated to where they lead (SQUAREM; Varadhan & Roland, Scandinavian Journal of Statistics 35, 2008)
    unless that lowers the likelihood.

    Args:
        probabilities: (N, C) calibrated, for p_train.
        train_prior: (C,) p_train, sums to 1.
        max_steps: of the iteration.
        check: called before every step; what it raises ends the work.

    Raises:
        TuningError: there is no image, or the estimate still moves after `max_steps`.
        ValueError: the shapes disagree, a training frequency is not above 0, or a probability is not finite.

    """
    if probabilities.ndim != 2 or train_prior.shape != probabilities.shape[1:] or not (train_prior > 0).all():
        raise ValueError(f"probabilities {probabilities.shape} and prior {train_prior.shape}; (N, C), (C,) above 0 fit")
    if not len(probabilities):
        raise TuningError("there is no traffic to estimate class frequencies from; classify some images first")
    if not np.isfinite(probabilities).all():
        raise ValueError("a probability is not finite")
    likelihood = np.asarray(probabilities, np.float64) / train_prior
    prior = np.asarray(train_prior, np.float64)
    for _ in range(max_steps):
        check()
        once, _ = _expectation_step(likelihood, prior)
        twice, reached = _expectation_step(likelihood, once)
        if np.abs(twice - once).max() < _PRIOR_TOLERANCE:
            return np.asarray(twice / twice.sum())
        leap, leaps_to = _expectation_step(likelihood, _extrapolated(prior, once, twice))
        prior = leap if leaps_to >= reached else twice
    raise TuningError(
        f"the class frequencies of {len(probabilities)} images still moved after {max_steps} steps; give the target "
        "prior yourself, or take more traffic"
    )


def _expectation_step(likelihood: Float64, prior: Float64) -> tuple[Float64, float]:
    """Return the next prior, and the mean log likelihood of this one."""
    evidence = likelihood @ prior
    updated = prior * (likelihood.T @ (1.0 / evidence)) / len(likelihood)
    return updated, float(np.log(evidence).mean())


def _extrapolated(prior: Float64, once: Float64, twice: Float64) -> Float64:
    """Return where two steps lead, kept inside the simplex."""
    step = once - prior
    bend = twice - 2.0 * once + prior
    size = float(np.linalg.norm(bend))
    stretch = max(1.0, float(np.linalg.norm(step)) / size) if size > 0 else 1.0
    leap = np.maximum(prior + 2.0 * stretch * step + stretch**2 * bend, 0.1 * twice)  # from 0 nothing comes back
    return np.asarray(leap / leap.sum())


def _mean_prediction(logits: Float, slope: Float, alpha: float) -> Float64:
    total = np.zeros(logits.shape[1])
    step = max(1, _CHUNK_ELEMENTS // logits.shape[1])
    for start in range(0, len(logits), step):
        rows = slice(start, start + step)
        total += softmax(logits[rows] - np.asarray(alpha, slope.dtype) * slope[rows]).sum(axis=0, dtype=np.float64)
    return np.asarray(total / len(logits))


def _divergence(target: Float, predicted: Float64) -> float:
    wanted = target > 0  # 0·log 0 = 0
    smallest = np.finfo(np.float64).tiny  # a probability that underflowed to 0
    return float((target[wanted] * np.log(target[wanted] / np.maximum(predicted[wanted], smallest))).sum())


def _golden_section(function: Any, low: float, high: float) -> float:
    inner = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    values = function(inner[0]), function(inner[1])
    while high - low > _ALPHA_TOLERANCE:
        if values[0] <= values[1]:
            high = inner[1]
            inner = high - _GOLDEN * (high - low), inner[0]
            values = function(inner[0]), values[0]
        else:
            low = inner[0]
            inner = inner[1], low + _GOLDEN * (high - low)
            values = values[1], function(inner[1])
    return float((low + high) / 2.0)
