"""The objective that alpha is chosen for: a figure to maximise, and figures that must not fall below a value."""

import re
from dataclasses import dataclass

from models.accuracy import FIGURES
from models.errors import TuningError
from models.tde import MAX_ALPHA

__all__ = ["ALPHA_RANGE", "OBJECTIVES", "Constraint", "Objective"]

ALPHA_RANGE = (-8.0, 8.0)  # the range searched for alpha; beyond it the head effect outweighs the picture
OBJECTIVES = ("overall", "balanced", "harmonic", "geometric", "few", "medium", "many", "worst_class")
_CONSTRAINT = re.compile(r"\s*([a-z_]+)\s*>=\s*([0-9.]+)\s*(%?)\s*")


@dataclass(frozen=True, slots=True)
class Constraint:
    """A figure that must not fall below a value, as in `overall >= 0.7` or `many >= 65%`."""

    figure: str
    at_least: float

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """Read a constraint.

        Raises:
            TuningError: the text is not FIGURE >= VALUE, the figure is unknown, or the value is not between 0 and 1.

        >>> Constraint.parse("overall >= 70%")
        Constraint(figure='overall', at_least=0.7)

        """
        match = _CONSTRAINT.fullmatch(text)
        try:
            figure, value = (match[1], float(match[2]) / (100.0 if match[3] else 1.0)) if match else ("", -1.0)
        except ValueError:
            figure = ""
            value = -1.0
        if figure not in FIGURES or not 0.0 <= value <= 1.0:
            raise TuningError(
                f"constraint {text[:64]!r}: write FIGURE >= VALUE, such as 'overall >= 0.7' or 'many >= 65%', with a "
                f"value between 0 and 1 and one of: {', '.join(FIGURES)}"
            )
        return cls(figure, value)

    def __str__(self) -> str:
        """Write it as `parse` reads it."""
        return f"{self.figure} >= {self.at_least:g}"


@dataclass(frozen=True, slots=True)
class Objective:
    """What alpha is chosen for.

    Args:
        figure: one of OBJECTIVES, to be as high as possible.
        constraints: all of which must hold.
        low: least alpha.
        high: largest alpha.

    Raises:
        TuningError: no such objective, or an invalid range.

    """

    figure: str = "balanced"
    constraints: tuple[Constraint, ...] = ()
    low: float = ALPHA_RANGE[0]
    high: float = ALPHA_RANGE[1]

    def __post_init__(self) -> None:
        if self.figure not in OBJECTIVES:
            raise TuningError(f"unknown objective {self.figure[:64]!r}; objectives are {', '.join(OBJECTIVES)}")
        if not -MAX_ALPHA <= self.low <= self.high <= MAX_ALPHA:
            raise TuningError(
                f"the range of alpha is [{self.low}, {self.high}]; give two numbers between -{MAX_ALPHA:g} and "
                f"{MAX_ALPHA:g}, the lower one first"
            )

    def __str__(self) -> str:
        """Say it in words, for `chosen_by`."""
        what = {
            "balanced": "mean per-class recall",
            "overall": "accuracy",
            "harmonic": "harmonic mean of the recalls",
            "geometric": "geometric mean of the recalls",
            "worst_class": "recall of the worst class",
            **{group: f"{group}-shot accuracy" for group in ("many", "medium", "few")},
        }
        rule = "".join(f", {constraint}" for constraint in self.constraints)
        return f"best {what[self.figure]}{rule}"
