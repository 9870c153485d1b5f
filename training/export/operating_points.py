"""The operating points of a new bundle: the α that need no labels, and those chosen on labelled images."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from models import tde
from models.manifest import REQUIRED_OPERATING_POINTS, OperatingPoint
from models.scores import Scores
from training.errors import ExportError
from training.evaluation.evaluation_protocol import balanced_alpha, tail_alpha
from training.evaluation.label_free import label_free_alpha

__all__ = ["alpha_of_cosines", "in_manifest_order", "label_free_of_images", "label_free_point", "points_chosen_on"]


def label_free_point(mean_cosine: float) -> OperatingPoint:
    """Return the label-free point for a mean head cosine of the training set; α = 0 if it is not defined."""
    alpha = label_free_alpha(mean_cosine)
    if alpha is not None:
        return OperatingPoint(alpha, "1 / mean head cosine of the training set; no labels used")
    return OperatingPoint(
        0.0,
        f"not defined: the mean head cosine of the training set is {mean_cosine:.3f}, too small to divide by; "
        "set to 0, the plain classifier",
    )


def label_free_of_images(cosine: npt.NDArray[np.float32], source: str) -> OperatingPoint:
    """Return the label-free point from the (N, K) head cosines of the scored images.

    The authors do the same if they have no cosines of the training set.
    """
    chosen_by = f"1 / mean head cosine of the {len(cosine):,} images of {source}; their labels were not used"
    return OperatingPoint(alpha_of_cosines(cosine), chosen_by)


def alpha_of_cosines(cosine: npt.NDArray[np.float32]) -> float:
    """Return 1 / mean head cosine.

    Args:
        cosine: (N, K), or (K,) means.

    Raises:
        ExportError: the mean is not positive.

    """
    try:
        return tde.label_free_alpha(np.atleast_2d(cosine))
    except ValueError as error:
        raise ExportError(f"{error}; train longer, or with `mean_feature` clean") from error


def points_chosen_on(scores: Scores, source: str, exempt: str | None) -> dict[str, OperatingPoint]:
    """Choose `balanced` and `tail` on labelled images.

    Args:
        scores: the images.
        source: their name, for people.
        exempt: the name of the exempt class, or None; α is chosen among the other classes.

    """
    others = scores.among_others()
    intervals = others.labelled_intervals()
    images = f"on the {len(others):,} images of {source}"
    if exempt is not None:
        images = (
            f"among the classes other than {exempt!r}, which is exempt, on their {len(others):,} images of {source}"
        )
    return {
        "balanced": OperatingPoint(
            balanced_alpha(intervals), f"best mean per-class recall {images}; middle of the best interval"
        ),
        "tail": OperatingPoint(
            tail_alpha(intervals), f"best accuracy of the rarest group, overall no worse than at alpha 0, {images}"
        ),
    }


def in_manifest_order(points: Mapping[str, OperatingPoint]) -> dict[str, OperatingPoint]:
    """Add `head` to the points, and put those that every bundle has first."""
    named = {"head": OperatingPoint(0.0, "the plain classifier")} | dict(points)
    required = [name for name in REQUIRED_OPERATING_POINTS if name in named]
    return {name: named[name] for name in dict.fromkeys((*required, *named))}
