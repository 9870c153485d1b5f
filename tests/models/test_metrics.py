"""Figures against computations by hand."""

import numpy as np
import pytest

from models.metrics import expected_calibration_error, recall_figures, summarise

SURE = np.float64(0.8)


def test_figures_are_those_of_a_confusion_matrix_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    figures = summarise(np.array([0, 0, 0, 1, 1, 0]), np.full(6, SURE), labels, ["many", "few"])
    assert figures["overall"] == pytest.approx(4 / 6)
    assert (figures["many"], figures["medium"], figures["few"]) == (0.75, None, 0.5)
    assert figures["balanced"] == pytest.approx(0.625)
    assert figures["harmonic"] == pytest.approx(2 / (1 / 0.75 + 1 / 0.5))
    assert figures["geometric"] == pytest.approx((0.75 * 0.5) ** 0.5)
    assert figures["worst_class"] == 0.5
    assert figures["macro_f1"] == pytest.approx((2 * 3 / 8 + 2 * 1 / 4) / 2)
    assert figures["ece"] == pytest.approx(abs(4 / 6 - 0.8))


def test_a_class_never_recognised_makes_the_means_0_without_a_warning() -> None:
    figures = summarise(np.array([0, 0, 2]), np.full(3, SURE), np.array([0, 1, 2]), ["many"] * 3)
    assert (figures["harmonic"], figures["geometric"], figures["worst_class"]) == (0.0, 0.0, 0.0)


def test_a_class_without_images_counts_in_no_mean() -> None:
    figures = summarise(np.array([0, 0, 2]), np.full(3, SURE), np.array([0, 0, 2]), ["many", "many", "few"])
    assert (figures["balanced"], figures["many"], figures["worst_class"], figures["macro_f1"]) == (1.0, 1.0, 1.0, 1.0)
    assert recall_figures(np.array([np.nan, 0.5]), ["many", "few"])["many"] is None


def test_calibration_error_bins_by_confidence() -> None:
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    error = expected_calibration_error(np.zeros(4, np.int64), confidence, np.array([0, 1, 0, 0]))
    assert error == pytest.approx((2 * abs(0.5 - 0.95) + 2 * abs(1.0 - 0.55)) / 4)
