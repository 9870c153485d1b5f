"""Accuracy against alpha, exactly: a step function made of one interval per labelled image.

A labelled image is right for alpha in one interval [lo, hi) (`alpha_path.py`). So the accuracy of any set of images, of
a class, of a group, or any mean of per-class recalls, changes only where an interval begins or ends: N images give at
most 2N steps, and nothing changes between two of them, so no grid is needed.

    overall      share of images that are right            many, medium, few   mean recall of the group's classes
    balanced     arithmetic mean of the classes' recalls   worst_class         the lowest recall
    harmonic     C / Σ_c 1/recall_c                        geometric           (Π_c recall_c)^(1/C)

Classes without an image have no recall and count in no mean; a group whose classes have no images has no curve. At a
breakpoint the value is that of the step to its right. Shapes: N images, C classes, M breakpoints.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import TuningError
from models.steps import Events, EventsByClass, lowest

__all__ = ["FIGURES", "AccuracyCurve", "LabelledIntervals", "accuracy_curve"]

Float = NDArray[np.floating[Any]]
Float64 = NDArray[np.float64]
Int = NDArray[np.int64]

FIGURES = ("overall", "balanced", "many", "medium", "few", "harmonic", "geometric", "worst_class")
GROUPS = ("many", "medium", "few")
_SAME = 1e-9  # values closer than this differ by rounding only; one image in 10^8 still counts


@dataclass(frozen=True, slots=True, eq=False)
class AccuracyCurve:
    """A step function of alpha.

    Args:
        breakpoints: (M,) ascending alphas at which the value changes.
        values: (M + 1,) the value between them, from -inf to the first, ..., from the last to +inf.

    """

    breakpoints: Float64
    values: Float64

    def at(self, alpha: float | Float) -> Float64:
        """Return the value at each alpha, in alpha's shape; at a breakpoint, that of the step to its right.

        Raises:
            ValueError: an alpha is NaN.

        """
        alphas = np.asarray(alpha, np.float64)
        if np.isnan(alphas).any():
            raise ValueError("accuracy was asked for at an alpha that is not a number")
        return np.asarray(self.values[np.searchsorted(self.breakpoints, alphas, side="right")])


def accuracy_curve(intervals: Float, weights: Float) -> AccuracyCurve:
    """Return the weighted share of images that are right, at every alpha.

    Args:
        intervals: (N, 2) from `alpha_path.winning_intervals`; (nan, nan) for an image that is right nowhere.
        weights: (N,) what each image counts; 1/N for the overall accuracy, 1/(C·n_c) for the balanced one.

    Raises:
        ValueError: the shapes disagree, or a weight is not finite.

    >>> curve = accuracy_curve(np.array([[-np.inf, 1.0], [0.5, 2.0]]), np.array([0.5, 0.5]))
    >>> curve.breakpoints.tolist(), curve.values.tolist()
    ([0.5, 1.0, 2.0], [0.5, 1.0, 0.5, 0.0])

    """
    _check_intervals(intervals)
    if weights.shape != intervals.shape[:1]:
        raise ValueError(f"intervals {intervals.shape} and weights {weights.shape}; (N, 2) and (N,) fit")
    if not np.isfinite(weights).all():
        raise ValueError("a weight is not finite")
    weight = np.asarray(weights, np.float64)
    events = Events(intervals)
    return _without_flat_steps(events.alphas, events.sums(weight))


class LabelledIntervals:
    """N labelled images, each as the interval of alpha in which it is classified correctly.

    Args:
        labels: (N,) class indices.
        intervals: (N, 2) from `alpha_path.winning_intervals`; (nan, nan) for an image that is right nowhere.
        groups: C times `many`, `medium` or `few`.

    Raises:
        ValueError: the shapes disagree, or a label is not a class.

    """

    def __init__(self, labels: NDArray[np.integer[Any]], intervals: Float, groups: tuple[str, ...]) -> None:
        _check_intervals(intervals)
        if labels.shape != intervals.shape[:1]:
            raise ValueError(f"labels {labels.shape} and intervals {intervals.shape}; (N,) and (N, 2) fit")
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(groups):
            raise ValueError(f"labels run from {labels.min()} to {labels.max()} but there are {len(groups)} classes")
        self.labels: Int = np.asarray(labels, np.int64)
        self.intervals: Float64 = np.asarray(intervals, np.float64)
        self.groups = groups
        self.class_images: Int = np.bincount(self.labels, minlength=len(groups)).astype(np.int64)

    def __len__(self) -> int:
        """Return N."""
        return len(self.labels)

    @property
    def figures(self) -> tuple[str, ...]:
        """Those of FIGURES that these images have: no group without an image, nothing at all without any image."""
        present = set(np.asarray(self.groups)[self.class_images > 0].tolist())
        return tuple(name for name in FIGURES if len(self) and (name not in GROUPS or name in present))

    def part(self, chosen: NDArray[np.bool_] | Int) -> "LabelledIntervals":
        """Return some of the images, (N,) bool, or some in another order, by their indices."""
        return LabelledIntervals(self.labels[chosen], self.intervals[chosen], self.groups)

    def recall_at(self, alpha: float) -> Float64:
        """Return (C,) each class's recall at this alpha; NaN for a class without images."""
        right = (self.intervals[:, 0] <= alpha) & (alpha < self.intervals[:, 1])
        with np.errstate(invalid="ignore"):
            hits = np.bincount(self.labels[right], minlength=len(self.groups))
            recall: Float64 = hits / self.class_images
        return recall

    def curve(self, figure: str, repeats: Int | None = None) -> AccuracyCurve:
        """Return one of FIGURES as an exact function of alpha.

        Args:
            figure: its name.
            repeats: (N,) how often each image counts, as in a bootstrap sample that keeps each class's size.

        Raises:
            TuningError: no such figure, or no image of that group.

        """
        return _without_flat_steps(self.breakpoints, self.steps(figure, repeats))

    @property
    def breakpoints(self) -> Float64:
        """(M,) ascending: every alpha at which an image turns right or wrong."""
        return self._events.alphas

    def steps(self, figure: str, repeats: Int | None = None) -> Float64:
        """Return (M + 1,) one of FIGURES between all `breakpoints`: like `curve`, but flat steps are kept."""
        self._check(figure)
        counts = np.ones(len(self), np.int64) if repeats is None else repeats
        if figure == "worst_class":
            return self._lowest_recall(counts)
        if figure in ("harmonic", "geometric"):
            return self._mean_of_recalls(figure, counts)
        weights = self._class_weights(figure)[self.labels]
        weights *= counts
        return self._events.sums(weights).clip(0.0, 1.0)  # rounding can push a sum just outside 0..1

    def recall_curve(self, class_index: int) -> AccuracyCurve:
        """Return one class's recall as an exact function of alpha.

        Raises:
            TuningError: the class has no image.

        """
        if not self.class_images[class_index]:
            raise TuningError(f"no image has the label {class_index}, so that class has no recall")
        mine = self.labels == class_index
        hits = accuracy_curve(self.intervals[mine], np.ones(int(mine.sum())))
        return AccuracyCurve(hits.breakpoints, hits.values / self.class_images[class_index])

    def _check(self, figure: str) -> None:
        if figure not in FIGURES:
            raise TuningError(f"unknown figure {figure[:64]!r}; figures are {', '.join(FIGURES)}")
        if figure not in self.figures:
            of_what = f"of a {figure}-shot class" if len(self) else "at all"
            raise TuningError(f"there is no labelled image {of_what}, so {figure} cannot be measured")

    def _class_weights(self, figure: str) -> Float64:
        """Return (C,) the weight of one image of each class, in a figure that is a weighted sum of correct images."""
        if figure == "overall":
            return np.full(len(self.groups), 1.0 / len(self))
        counted = self.class_images > 0
        if figure != "balanced":
            counted &= np.asarray(self.groups) == figure
        weights = np.zeros(len(self.groups))
        weights[counted] = 1.0 / (counted.sum() * self.class_images[counted])
        return weights

    @cached_property
    def _events(self) -> Events:
        return Events(self.intervals)

    @cached_property
    def _by_class(self) -> EventsByClass:
        return EventsByClass(self._events, self.labels, len(self.groups))

    def _hits(self, counts: Int) -> tuple[Int, Int]:
        """(C,) images right at -inf; (E,) right images of the event's own class after each event, by class."""
        mine = self._by_class
        start = np.bincount(self.labels, self._events.begins_open * counts, minlength=len(self.groups)).astype(np.int64)
        running = np.cumsum(mine.sign * counts[mine.image])
        of_earlier_classes = np.append(0, running)[mine.first]
        running += np.repeat(start - of_earlier_classes, mine.events)
        return start, running

    def _mean_of_recalls(self, figure: str, counts: Int) -> Float64:
        """Sum a term per class, and count the classes at zero apart: one of those makes the whole mean zero."""
        start, after = self._hits(counts)
        mine = self._by_class
        present = self.class_images > 0

        def term(hits: Int, images: Int) -> Float64:
            at_least_one = np.maximum(hits, 1)
            share = images / at_least_one if figure == "harmonic" else np.log(at_least_one / images)
            return np.asarray(share * (hits > 0))

        at_start = term(start, np.maximum(self.class_images, 1))
        terms = mine.changes(at_start, term(after, np.repeat(self.class_images, mine.events)))
        zeros = mine.changes((start == 0).astype(np.float64), (after == 0).astype(np.float64))
        total = self._events.running(float(at_start[present].sum()), terms)
        classes_at_zero = self._events.running(float((start[present] == 0).sum()), zeros)
        classes = present.sum()
        with np.errstate(divide="ignore"):
            mean = classes / total if figure == "harmonic" else np.exp(total / classes)
        return np.where(classes_at_zero > 0.5, 0.0, mean)

    def _lowest_recall(self, counts: Int) -> Float64:
        """Return the lowest of all classes' recalls at every step."""
        start, after = self._hits(counts)
        mine = self._by_class
        present = self.class_images > 0
        steps = len(self.breakpoints) + 1
        recall = after / np.repeat(self.class_images, mine.events)
        position = self._events.position[mine.order] + 1
        until = np.append(position[1:], steps)[: len(position)]
        until[mine.first[mine.events > 0] - 1] = steps  # a class's last step ends at +inf; index -1 is the last class's
        opening = np.full(len(self.groups), steps)
        opening[mine.events > 0] = position[mine.first[mine.events > 0]]
        return lowest(
            np.concatenate([np.zeros(present.sum(), np.int64), position]),
            np.concatenate([opening[present], until]),
            np.concatenate([start[present] / self.class_images[present], recall]),
            steps,
        )


def _check_intervals(intervals: Float) -> None:
    if intervals.ndim != 2 or intervals.shape[1] != 2:
        raise ValueError(f"intervals have shape {intervals.shape}; (N, 2) fits")
    low, high = intervals.T
    if (wrong := np.flatnonzero(~((low <= high) | (np.isnan(low) & np.isnan(high))))).size:
        first = wrong[0]
        raise ValueError(
            f"interval {first} runs from {low[first]} to {high[first]}; give the lower end first, "
            "or nan twice for an image that is right nowhere"
        )


def _without_flat_steps(alphas: Float64, values: Float64) -> AccuracyCurve:
    """Drop the breakpoints at which nothing changes: as many images turn right there as wrong."""
    kept = np.abs(np.diff(values)) > _SAME * np.abs(values).max()
    return AccuracyCurve(alphas[kept], values[np.concatenate([[True], kept])])
