"""N labelled images after one forward pass: their logits, and a slope along a knob, so that any value can be scored.

    logits(knob) = logits − knob · slope

For alpha the slope is an image's head effect (`tde.py`); for post-hoc logit adjustment (Menon et al., ICLR 2021,
arXiv:2007.07314) it is the log prior of the training set, the same for all images. Everything that chooses alpha works
on these lines, so the rival is tuned and measured by the same code. Shapes: N images, C classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import tde
from models.accuracy import LabelledIntervals
from models.alpha_path import winning_intervals
from models.errors import TuningError
from models.prior import log_prior

__all__ = ["Scores"]

Float = NDArray[np.floating[Any]]
Int = NDArray[np.int64]
_CHUNK_ELEMENTS = 1 << 17  # N x C is worked through in pieces that stay in a core's cache


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """N labelled images as lines along a knob.

    Args:
        logits: (N, C) at knob 0.
        slope: (N, C) what knob = 1 takes out; (C,) if it is the same for all images; (K, C) beside `head_cosine`.
        labels: (N,) class indices.
        groups: C times `many`, `medium` or `few`.
        exempt_class: the class TDE leaves alone, or None.
        head_cosine: (N, K) if the slope is `tde.head_effect(head_cosine, slope)`, which is then computed in pieces: N x
            C slopes take as much memory as the logits, and storing them takes longer than computing them again.

    """

    logits: Float
    slope: Float
    labels: Int
    groups: tuple[str, ...]
    exempt_class: int | None = None
    head_cosine: Float | None = None

    def __len__(self) -> int:
        """Return N."""
        return len(self.labels)

    def probabilities(self, knob: float) -> Float:
        """Return (N, C) class probabilities at this value of the knob."""
        shifted = self._at(knob)
        if self.exempt_class is not None:
            return tde.exempt_probabilities(self.logits, shifted, self.exempt_class)
        return tde.softmax(shifted)

    def _at(self, knob: float) -> Float:
        """Return (N, C) logits at this value of the knob."""
        slope = self._slope()
        shifted: Float = self.logits - np.asarray(knob, slope.dtype) * slope
        return shifted

    def _slope(self) -> Float:
        return self.slope if self.head_cosine is None else tde.head_effect(self.head_cosine, self.slope)

    def _pieces(self) -> Iterator[tuple[slice, "Scores"]]:
        step = max(1, _CHUNK_ELEMENTS // len(self.groups))
        for start in range(0, len(self), step):
            rows = slice(start, start + step)
            yield rows, self.part(rows)

    def top_1(self, knob: float) -> tuple[Int, Float]:
        """Return each image's predicted class and its probability, (N,) both."""
        predicted = np.empty(len(self), np.int64)
        confidence = np.empty(len(self), np.float32)
        for rows, piece in self._pieces():
            predicted[rows], confidence[rows] = piece._top_1(knob)
        return predicted, confidence

    def _top_1(self, knob: float) -> tuple[NDArray[np.intp], Float]:
        shifted = self._at(knob) if self.exempt_class is None else self.probabilities(knob)
        top = shifted.argmax(axis=1)
        best = np.take_along_axis(shifted, top[:, None], axis=1)
        if self.exempt_class is not None:
            return top, best[:, 0]
        shifted -= best
        return top, 1.0 / np.exp(shifted, out=shifted).sum(axis=1)  # softmax: the numerator of the top class is 1

    def labelled_intervals(self) -> LabelledIntervals:
        """Return the exact interval of the knob in which each image is classified correctly.

        Raises:
            TuningError: a class is exempt: its probabilities are not affine in alpha.

        """
        if self.exempt_class is not None:
            raise TuningError(
                "choosing alpha with an exempt class is not supported: its probabilities are not affine in alpha"
            )
        intervals = np.empty((len(self), 2))
        for rows, piece in self._pieces():
            intervals[rows] = winning_intervals(piece.logits, piece._slope(), piece.labels)
        return LabelledIntervals(self.labels, intervals, self.groups)

    def among_others(self) -> "Scores":
        """Return the images of the classes that are not exempt, as lines of these classes alone.

        An exempt class keeps its probability whatever alpha is, and the others share the rest as the softmax of their
        own TDE logits (`tde.exempt_probabilities`). Which of the others is the highest is therefore decided among
        them, affinely in alpha; whether it is higher than the exempt class is not.
        """
        if self.exempt_class is None:
            return self
        kept = self.labels != self.exempt_class
        others = np.arange(len(self.groups)) != self.exempt_class
        rows = self.part(kept)
        return replace(
            rows,
            logits=rows.logits[:, others],
            slope=rows.slope[..., others],
            labels=rows.labels - (rows.labels > self.exempt_class),
            groups=tuple(group for index, group in enumerate(self.groups) if index != self.exempt_class),
            exempt_class=None,
        )

    def part(self, chosen: NDArray[np.bool_] | slice) -> "Scores":
        """Return some of the images, (N,) bool or a slice."""
        logits = self.logits[chosen]
        labels = self.labels[chosen]
        if self.head_cosine is not None:
            return replace(self, logits=logits, head_cosine=self.head_cosine[chosen], labels=labels)
        return replace(
            self, logits=logits, slope=self.slope if self.slope.ndim == 1 else self.slope[chosen], labels=labels
        )

    def logit_adjustment(self, class_counts: NDArray[np.integer[Any]]) -> "Scores":
        """Return the same images along the strength of post-hoc logit adjustment: slope = log prior.

        Raises:
            ValueError: a class has no training images, so its prior has no logarithm.

        """
        return replace(self, slope=log_prior(class_counts).astype(self.logits.dtype), head_cosine=None)
