"""The curve in the terminal shows the accuracies it was given."""

import numpy as np
import pytest

from models.accuracy import AccuracyCurve
from training.evaluation.terminal_curve import HEIGHT, WIDTH, terminal_curve

STEP = AccuracyCurve(np.array([1.0]), np.array([0.2, 0.8]))
FLAT = AccuracyCurve(np.array([]), np.array([0.5]))


def test_marks_lie_where_the_accuracy_is() -> None:
    lines = terminal_curve({"overall": FLAT, "few": STEP}, 1.0, 0.0, 2.0).plain.split("\n")
    assert lines[0].startswith("   80 % ┤")
    assert lines[HEIGHT - 1].startswith("   20 % ┤")
    assert lines[0].count("▲") + lines[HEIGHT - 1].count("▲") == WIDTH
    assert lines[HEIGHT // 2].count("·") == WIDTH
    assert lines[1].index("│", 9) == 9 + WIDTH // 2  # the chosen alpha, in the middle of 0..2
    assert lines[-1].split() == ["·", "all", "classes", "▲", "few"]


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("alpha", [-8.0, 0.0, 0.013, 8.0])
def test_every_curve_and_every_alpha_fits_the_frame(value: float, alpha: float) -> None:
    flat = AccuracyCurve(np.array([]), np.array([value]))
    lines = terminal_curve({"overall": flat}, alpha, min(-1.0, alpha - 1.0), max(3.0, alpha + 1.0)).plain.split("\n")
    assert {len(line) for line in lines[:HEIGHT]} == {9 + WIDTH}
    assert f"{alpha:.2f}" in lines[HEIGHT + 1]
