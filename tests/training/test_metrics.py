"""Figures and protocol against computations by hand."""

import numpy as np
import pytest

from training.metrics import expected_calibration_error, summarise
from training.protocol import balanced_alpha, evaluate_scores, group_curves, halves, tail_alpha
from training.scoring import Scores


def one_hot(predicted: list[int], classes: int, confidence: float = 0.8) -> np.ndarray:
    rest = (1 - confidence) / (classes - 1)
    return np.where(np.eye(classes, dtype=bool)[predicted], confidence, rest)


def test_figures_are_those_of_a_confusion_matrix_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    figures = summarise(one_hot([0, 0, 0, 1, 1, 0], 2), labels, ["many", "few"])
    assert figures["overall"] == pytest.approx(4 / 6)
    assert (figures["many"], figures["medium"], figures["few"]) == (0.75, None, 0.5)
    assert figures["balanced"] == pytest.approx(0.625)
    assert figures["harmonic"] == pytest.approx(2 / (1 / 0.75 + 1 / 0.5))
    assert figures["geometric"] == pytest.approx((0.75 * 0.5) ** 0.5)
    assert figures["worst_class"] == 0.5
    assert figures["macro_f1"] == pytest.approx((2 * 3 / 8 + 2 * 1 / 4) / 2)
    assert figures["ece"] == pytest.approx(abs(4 / 6 - 0.8))


def test_a_class_never_recognised_makes_the_means_0_without_a_warning() -> None:
    figures = summarise(one_hot([0, 0, 2], 3), np.array([0, 1, 2]), ["many"] * 3)
    assert (figures["harmonic"], figures["geometric"], figures["worst_class"]) == (0.0, 0.0, 0.0)


def test_calibration_error_bins_by_confidence() -> None:
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.55, 0.45], [0.55, 0.45]])
    error = expected_calibration_error(probabilities, np.array([0, 1, 0, 0]))
    assert error == pytest.approx((2 * abs(0.5 - 0.95) + 2 * abs(1.0 - 0.55)) / 4)


def random_scores(seed: int = 0, images: int = 600) -> Scores:
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 4
    logits = rng.normal(size=(images, 4)) + 2 * np.eye(4)[labels] + np.array([2.0, 1.0, 0.0, -1.0])
    cosine = rng.uniform(0.3, 0.9, size=(images, 2))
    effect = np.array([[1.5, 0.8, -0.3, -1.2], [1.2, 0.6, 0.1, -1.0]])
    return Scores(logits, cosine, effect, labels, ("many", "many", "medium", "few"))


def test_the_chosen_alpha_beats_every_alpha_of_a_grid() -> None:
    scores = random_scores()
    best = summarise(scores.probabilities(balanced_alpha(scores)), scores.labels, scores.groups)["balanced"]
    grid = [
        summarise(scores.probabilities(a), scores.labels, scores.groups)["balanced"] for a in np.linspace(-8, 8, 801)
    ]
    assert best >= max(grid) - 1e-12


def test_group_curves_are_the_accuracies_of_the_probabilities() -> None:
    scores = random_scores()
    curves = group_curves(scores)
    for alpha in (-1.3, 0.0, 0.71, 2.2):
        figures = summarise(scores.probabilities(alpha), scores.labels, scores.groups)
        for name, curve in curves.items():
            assert curve.at(alpha) == pytest.approx(figures[name])


def test_the_tail_point_is_no_worse_overall_than_the_plain_classifier() -> None:
    scores = random_scores()
    plain, tail = (summarise(scores.probabilities(a), scores.labels, scores.groups) for a in (0.0, tail_alpha(scores)))
    assert tail["overall"] >= plain["overall"]
    assert tail["few"] > plain["few"]


def test_halves_split_every_class_evenly_and_always_alike() -> None:
    labels = np.arange(101) % 4
    first = halves(labels)
    assert np.array_equal(first, halves(labels))
    assert np.abs(np.bincount(labels[first]) - np.bincount(labels[~first])).max() <= 1


def test_cross_fitting_never_scores_an_image_with_an_alpha_chosen_on_it() -> None:
    scores = random_scores()
    protocol = evaluate_scores(scores, 1.2)
    first = halves(scores.labels)
    fitted = [balanced_alpha(scores.part(chosen)) for chosen in (first, ~first)]
    scored = [
        summarise(scores.part(~chosen).probabilities(alpha), scores.labels[~chosen], scores.groups)["overall"]
        for chosen, alpha in zip((first, ~first), fitted, strict=True)
    ]
    assert protocol["cross_fitted"]["alphas"] == fitted
    assert protocol["cross_fitted"]["overall"] == pytest.approx(np.mean(scored))
    assert protocol["hindsight"]["balanced"] >= protocol["cross_fitted"]["balanced"]
    assert (protocol["zero"]["alpha"], protocol["label_free"]["alpha"]) == (0.0, 1.2)
