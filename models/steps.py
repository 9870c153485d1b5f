"""Step functions of alpha, many at once: where intervals begin and end, sums over them, and the lowest of several.

`accuracy.py` is built on these. A bootstrap computes the same sums hundreds of times with different weights, so
whatever depends on the intervals alone is computed once, and memory is reused: allocating it costs as much as the
arithmetic. Shapes: N images, C classes, E events (ends of intervals that are finite), M different alphas at which they
happen.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Events", "EventsByClass", "lowest"]

Float = NDArray[np.floating[Any]]
Float64 = NDArray[np.float64]
Int = NDArray[np.int64]


class Events:
    """Where intervals begin and end, in order of alpha: E events at M different alphas.

    Attributes:
        image: (E,) index of the image that the event belongs to.
        sign: (E,) +1 if an interval begins, -1 if it ends.
        position: (E,) index into `alphas`.
        alphas: (M,) ascending.
        begins_open: (N,) 1 for an image that is right from -inf on, else 0.

    """

    def __init__(self, intervals: Float) -> None:
        low, high = np.asarray(intervals, np.float64).T
        self.begins_open: Int = (low == -np.inf).astype(np.int64)
        beginning = np.flatnonzero(np.isfinite(low))
        ending = np.flatnonzero(np.isfinite(high))
        unsorted = np.concatenate([low[beginning], high[ending]])
        order = np.argsort(unsorted)
        self.image: Int = np.concatenate([beginning, ending])[order]
        self.sign: Int = np.repeat(np.array([1, -1]), [len(beginning), len(ending)])[order]
        in_order = unsorted[order]
        is_new = np.append(True, in_order[1:] != in_order[:-1])[: len(in_order)]
        self.alphas: Float64 = in_order[is_new]
        self.position: Int = np.cumsum(is_new) - 1
        self._last_of_alpha = np.flatnonzero(np.append(is_new[1:], True)[: len(in_order)])

    def sums(self, weights: Float64) -> Float64:
        """Return (M + 1,) the sum of the weights, (N,), of all images that are right, between the alphas."""
        changes = weights[self.image]
        changes *= self.sign
        return self.running(float((weights * self.begins_open).sum()), changes)

    def running(self, start: float, changes: Float64) -> Float64:
        """Return (M + 1,) a sum between the alphas that starts at -inf and changes by (E,) at every event.

        Works in the memory of `changes`: fresh memory for every step would cost a bootstrap as much as the arithmetic.
        """
        total = np.cumsum(changes, out=changes)
        total += start
        values = np.empty(len(self.alphas) + 1)
        values[0] = start
        np.take(total, self._last_of_alpha, out=values[1:], mode="clip")  # the default mode makes a copy first
        return values


class EventsByClass:
    """The events in order of class, within a class in order of alpha.

    Attributes:
        order: (E,) indices into the events.
        image: (E,) as `Events.image`, in this order.
        sign: (E,) as `Events.sign`, in this order.
        events: (C,) how many each class has.
        first: (C,) where those of each class begin.

    """

    def __init__(self, events: Events, labels: Int, num_classes: int) -> None:
        label = labels[events.image]
        self.order = np.argsort(label, kind="stable")
        self.image: Int = events.image[self.order]
        self.sign: Int = events.sign[self.order]
        self.events: Int = np.bincount(label, minlength=num_classes)
        self.first: Int = np.cumsum(self.events) - self.events

    def changes(self, start: Float64, after: Float64) -> Float64:
        """Return (E,) by how much each event, in order of alpha, changes a number that each class has.

        Args:
            start: (C,) the number at -inf.
            after: (E,) the number after each event, by class.

        """
        has_events = self.events > 0
        before = np.empty_like(after)
        before[1:] = after[:-1]
        before[self.first[has_events]] = start[has_events]
        changes = np.empty_like(after)
        changes[self.order] = np.subtract(after, before, out=before)
        return changes


def lowest(begin: Int, end: Int, value: Float64, steps: int) -> Float64:
    """Return (steps,) the lowest of the values whose [begin, end) holds each step.

    Each interval is covered by two overlapping blocks whose length is a power of two. From the longest blocks down,
    each block passes its minimum on to its two halves.
    """
    kept = begin < end
    begin = begin[kept]
    end = end[kept]
    value = value[kept]
    power = (np.frexp(end - begin)[1] - 1).astype(np.uint8)
    by_power = np.argsort(power, kind="stable")
    groups = np.split(by_power, np.cumsum(np.bincount(power))[:-1])
    lowest = np.full(steps, np.inf)
    for exponent, group in reversed(list(enumerate(groups))):
        length = 1 << exponent
        np.minimum.at(lowest, begin[group], value[group])
        np.minimum.at(lowest, end[group] - length, value[group])
        if half := length // 2:
            np.minimum(lowest[half:], lowest[:-half].copy(), out=lowest[half:])
    return lowest
