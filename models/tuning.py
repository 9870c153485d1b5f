"""Choose alpha: the exact optimum of an objective under constraints, how sure it is, and what it gains and costs.

Nothing here is searched on a grid. The objective and every constraint are step functions of alpha (`accuracy.py`), so
the best stretch of alpha is read off. What is reported beside it keeps the choice honest: a bootstrap confidence
interval of alpha, figures cross-fitted (chosen on one half of the images, scored on the other, both ways), and post-hoc
logit adjustment at its own best strength, tuned by the same code.

Shapes: N labelled images, C classes. Figures are fractions of 1.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.accuracy import FIGURES, AccuracyCurve, LabelledIntervals
from models.errors import InfeasibleError, TuningError
from models.metrics import recall_figures, summarise
from models.scores import Scores

__all__ = [
    "ALPHA_RANGE",
    "OBJECTIVES",
    "Constraint",
    "Objective",
    "Optimum",
    "confidence_interval",
    "cross_fitted",
    "curve_points",
    "figures_at",
    "halves",
    "optimum",
    "tune",
    "tune_intervals",
]

ALPHA_RANGE = (-8.0, 8.0)  # where alpha is looked for; beyond it the head effect outweighs what the picture shows
OBJECTIVES = ("overall", "balanced", "harmonic", "geometric", "few", "medium", "many", "worst_class")
SPLIT_SEED = 0
RESAMPLES = 200
CONFIDENCE = 0.95
CURVE_RANGE = (-2.0, 5.0)
CURVE_POINTS = 201
_SAME = 1e-9  # values closer than this differ by rounding only
Figures = dict[str, float | None]
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
            TuningError: it is not FIGURE >= VALUE, there is no such figure, or the value is not between 0 and 1.

        >>> Constraint.parse("overall >= 70%")
        Constraint(figure='overall', at_least=0.7)
        """
        match = _CONSTRAINT.fullmatch(text)
        try:
            figure, value = (match[1], float(match[2]) / (100.0 if match[3] else 1.0)) if match else ("", -1.0)
        except ValueError:
            figure, value = "", -1.0
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
        TuningError: no such objective, or a range that is none.
    """

    figure: str = "balanced"
    constraints: tuple[Constraint, ...] = ()
    low: float = ALPHA_RANGE[0]
    high: float = ALPHA_RANGE[1]

    def __post_init__(self) -> None:
        if self.figure not in OBJECTIVES:
            raise TuningError(f"{self.figure[:64]!r} is no objective; there are: {', '.join(OBJECTIVES)}")
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low <= self.high):
            raise TuningError(
                f"alpha was to be chosen in [{self.low}, {self.high}]; give finite numbers, the lower one first"
            )

    def __str__(self) -> str:
        """Say it in words, for `chosen_by`."""
        what = {
            "balanced": "mean per-class recall",
            "overall": "accuracy",
            **{group: f"{group}-shot accuracy" for group in ("many", "medium", "few")},
        }
        rule = "".join(f", {constraint}" for constraint in self.constraints)
        return f"best {what.get(self.figure, self.figure.replace('_', ' ') + ' recall')}{rule}"


@dataclass(frozen=True, slots=True)
class Optimum:
    """The best stretch [low, high] of alpha, the alpha in its middle, and the objective's value there."""

    alpha: float
    low: float
    high: float
    value: float


def optimum(images: LabelledIntervals, objective: Objective, repeats: NDArray[np.int64] | None = None) -> Optimum:
    """Return the alpha at which the objective is highest among those that meet every constraint. Exact.

    The whole best stretch is found and its middle taken; of several equally good stretches, the one whose middle is
    nearest to 0, the plain classifier.

    Args:
        images: where along alpha each image is right.
        objective: what to choose for.
        repeats: (N,) how often each image counts, in a bootstrap sample.

    Raises:
        InfeasibleError: no alpha in the range meets the constraints.
        TuningError: there is no image, or none of a group that is asked for.
    """
    best = _optimum(images, objective, repeats)
    if best is None:
        raise InfeasibleError(_infeasible(images, objective))
    return best


def _optimum(images: LabelledIntervals, objective: Objective, repeats: NDArray[np.int64] | None) -> Optimum | None:
    first_inside = np.searchsorted(images.breakpoints, objective.low, side="right")
    first_beyond = max(first_inside, np.searchsorted(images.breakpoints, objective.high, side="left"))
    inside = images.breakpoints[first_inside:first_beyond]
    begins = np.concatenate([[objective.low], inside])
    ends = np.concatenate([inside, [objective.high]])
    in_range = slice(first_inside, first_beyond + 1)
    values = images.steps(objective.figure, repeats)[in_range]
    allowed = np.ones(len(begins), dtype=bool)
    for rule in objective.constraints:
        allowed &= images.steps(rule.figure, repeats)[in_range] >= rule.at_least - _SAME
    if not allowed.any():
        return None
    best = allowed & (values >= values[allowed].max() - _SAME)
    first = np.flatnonzero(best & ~np.concatenate([[False], best[:-1]]))
    last = np.flatnonzero(best & ~np.concatenate([best[1:], [False]]))
    middles = (begins[first] + ends[last]) / 2.0
    middles = np.where(middles < ends[last], middles, begins[first])  # two neighbouring floats have no middle
    chosen = np.abs(middles).argmin()
    value = values[first[chosen]]
    return Optimum(float(middles[chosen]), float(begins[first[chosen]]), float(ends[last[chosen]]), float(value))


def confidence_interval(
    images: LabelledIntervals, objective: Objective, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the optimal alpha.

    Images are drawn with replacement within each class, so that every class keeps its size. A sample in which no alpha
    meets the constraints counts as the alpha chosen on all images: it has no optimum of its own.

    Raises:
        TuningError: as `optimum`, on all images.
    """
    rng = np.random.default_rng(seed)
    best = optimum(images, objective).alpha
    alphas = np.full(resamples, best)
    by_class = images.part(np.argsort(images.labels, kind="stable"))
    size = images.class_images[by_class.labels]
    start = (np.cumsum(images.class_images) - images.class_images)[by_class.labels]
    for index in range(resamples):
        position = rng.random(len(images))
        position *= size
        drawn = position.astype(np.int64)
        drawn += start
        resampled = _optimum(by_class, objective, np.bincount(drawn, minlength=len(images)))
        if resampled is not None:
            alphas[index] = resampled.alpha
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(alphas, [tail, 1.0 - tail])
    return float(low), float(high)


def halves(labels: NDArray[np.int64], seed: int = SPLIT_SEED) -> NDArray[np.bool_]:
    """Return (N,) which half each image is in; every class is split evenly, at random, odd ones by turns."""
    generator = np.random.default_rng(seed)
    first = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        mine = generator.permutation(np.flatnonzero(labels == label))
        first[mine[: (len(mine) + int(label) % 2) // 2]] = True
    return first


def cross_fitted(images: LabelledIntervals, objective: Objective) -> dict[str, Any] | None:
    """Return what to expect: alpha chosen on one half of the images, scored on the other, both ways, averaged.

    Returns:
        The figures of `figures_at` with `alpha` (the mean) and `alphas` (both); None where a half cannot choose, as it
        has no image, none of a class that is asked for, or no alpha that meets the constraints.
    """
    first = halves(images.labels)
    if first.all() or not first.any():
        return None
    alphas: list[float] = []
    scored: list[Figures] = []
    for chosen in (first, ~first):
        try:
            alphas.append(optimum(images.part(chosen), objective).alpha)
        except TuningError:
            return None
        scored.append(figures_at(images.part(~chosen), alphas[-1]))
    average = {name: _mean(value, scored[1][name]) for name, value in scored[0].items()}
    return {"alpha": _mean(*alphas), **average, "alphas": alphas}


def figures_at(images: LabelledIntervals, alpha: float) -> Figures:
    """Return every figure that intervals decide, at one alpha; None for a group without images."""
    recall = images.recall_at(alpha)
    counted = images.class_images > 0
    hits = recall[counted] @ images.class_images[counted]
    return {"overall": float(hits / len(images))} | recall_figures(recall, images.groups)


def curve_points(
    images: LabelledIntervals, *, low: float, high: float, points: int = CURVE_POINTS, also: tuple[float, ...] = ()
) -> dict[str, Any]:
    """Return the exact curves read at evenly spaced alphas, for drawing: {"alphas": [...], "figures": {name: [...]}}.

    0 and the alphas in `also` are among them where the range holds them. Figures that these images do not have are
    absent.
    """
    spaced = np.round(np.linspace(low, high, points), 12).clip(low, high)
    alphas = np.unique([*spaced, *(alpha for alpha in (0.0, *also) if low <= alpha <= high)])
    figures = {name: images.curve(name).at(alphas).tolist() for name in images.figures}
    return {"alphas": alphas.tolist(), "figures": figures}


def tune_intervals(images: LabelledIntervals, objective: Objective) -> dict[str, Any]:
    """Return the report of `tune` as far as intervals alone can tell, as for labels that came back from production.

    Raises:
        InfeasibleError: no alpha in the range meets the constraints.
        TuningError: there is no image, or none of a group that is asked for.
    """
    best = optimum(images, objective)
    before, after = figures_at(images, 0.0), figures_at(images, best.alpha)
    return {
        "objective": objective.figure,
        "constraints": [str(constraint) for constraint in objective.constraints],
        "alpha": best.alpha,
        "interval": [best.low, best.high],
        "value": best.value,
        "confidence_interval": list(confidence_interval(images, objective)),
        "before": before,
        "after": after,
        "gain": _gain(before, after),
        "cross_fitted": cross_fitted(images, objective),
        "curve": _curve_around(images, objective, best.alpha),
        "logit_adjustment": None,
        "images": len(images),
    }


def _curve_around(images: LabelledIntervals, objective: Objective, alpha: float) -> dict[str, Any]:
    """Draw where people look, and where the chosen alpha lies."""
    low, high = min(CURVE_RANGE[0], alpha - 1.0), max(CURVE_RANGE[1], alpha + 1.0)
    return curve_points(images, low=max(low, objective.low), high=min(high, objective.high), also=(alpha,))


def tune(scores: Scores, class_counts: NDArray[np.int64], objective: Objective) -> dict[str, Any]:
    """Choose alpha on labelled images, and the strength of post-hoc logit adjustment beside it.

    Args:
        scores: the images along alpha.
        class_counts: (C,) training images of each class, for logit adjustment.
        objective: what to choose for; both knobs are looked for in its range.

    Returns:
        A report JSON can hold: `alpha`, `interval`, `value`, `confidence_interval`, `before` (alpha 0) and `after` with
        every figure of the protocol, `gain`, `cross_fitted`, `curve`, `images`, and `logit_adjustment` with `strength`
        in the place of `alpha`; that is None where a class has no training images, or no strength meets the
        constraints.

    Raises:
        InfeasibleError: no alpha in the range meets the constraints.
        TuningError: a class is exempt, there is no image, or none of a group that is asked for.
    """
    report = tune_intervals(scores.labelled_intervals(), objective)
    before, after = _protocol_figures(scores, 0.0), _protocol_figures(scores, report["alpha"])
    return report | {
        "before": before,
        "after": after,
        "gain": _gain(before, after),
        "logit_adjustment": _tune_logit_adjustment(scores, class_counts, objective, before),
    }


def _tune_logit_adjustment(
    scores: Scores, class_counts: NDArray[np.int64], objective: Objective, before: Figures
) -> dict[str, Any] | None:
    if (class_counts < 1).any():
        return None
    adjusted = scores.logit_adjustment(class_counts)
    images = adjusted.labelled_intervals()
    try:
        best = optimum(images, objective)
    except InfeasibleError:
        return None
    after = _protocol_figures(adjusted, best.alpha)
    fitted = cross_fitted(images, objective)
    if fitted is not None:
        fitted["strength"], fitted["strengths"] = fitted.pop("alpha"), fitted.pop("alphas")
    return {
        "strength": best.alpha,
        "interval": [best.low, best.high],
        "value": best.value,
        "after": after,
        "gain": _gain(before, after),
        "cross_fitted": fitted,
    }


def _protocol_figures(scores: Scores, knob: float) -> Figures:
    return summarise(*scores.top_1(knob), scores.labels, scores.groups)


def _gain(before: Figures, after: Figures) -> Figures:
    pairs = {name: (value, after[name]) for name, value in before.items()}
    return {name: None if old is None or new is None else new - old for name, (old, new) in pairs.items()}


def _mean(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else (one + other) / 2.0


def _infeasible(images: LabelledIntervals, objective: Objective) -> str:
    """Say what each constraint could reach alone, so that the reader knows which one to give up."""
    rules = " and ".join(map(str, objective.constraints))
    reach = []
    for rule in objective.constraints:
        curve: AccuracyCurve = images.curve(rule.figure)
        inside = curve.breakpoints[(curve.breakpoints > objective.low) & (curve.breakpoints < objective.high)]
        reach.append(f"{rule.figure} reaches {curve.at(np.append(inside, objective.low)).max():.4g}")
    return f"no alpha in {objective.low:g}..{objective.high:g} gives {rules}; alone, {' and '.join(reach)}"
