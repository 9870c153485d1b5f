"""What a query string means: alpha values and top_k."""

import math
from collections.abc import Sequence

from models.manifest import Manifest
from service.errors import AlphaError, AlphaRangeError, TooManyAlphasError, TopKError
from service.settings import Settings

__all__ = ["DEFAULT_ALPHA", "DEFAULT_TOP_K", "parse_alphas", "parse_top_k"]

DEFAULT_ALPHA = "balanced"
DEFAULT_TOP_K = 5


def parse_alphas(values: Sequence[str], manifest: Manifest, settings: Settings) -> list[float]:
    """Return the numbers meant by `alpha=…`, in the order asked; names and numbers may be mixed.

    Raises:
        AlphaError: neither a finite number nor an operating point of this model.
        AlphaRangeError: larger than the server allows.
        TooManyAlphasError: more values than the server allows.
    """
    if len(values) > settings.max_alphas:
        raise TooManyAlphasError(f"{len(values)} values of alpha; at most {settings.max_alphas} fit into one request")
    return [_parse_alpha(value, manifest, settings.max_alpha) for value in values or (DEFAULT_ALPHA,)]


def parse_top_k(top_k: int | None, manifest: Manifest) -> int:
    """Return how many classes to answer with; by default 5, or all where there are fewer.

    Raises:
        TopKError: below 1 or above the number of classes.
    """
    classes = len(manifest.classes)
    if top_k is None:
        return min(DEFAULT_TOP_K, classes)
    if not 1 <= top_k <= classes:
        raise TopKError(f"top_k {top_k} is outside 1..{classes}, the number of classes of {manifest.name}")
    return top_k


def _parse_alpha(text: str, manifest: Manifest, largest: float) -> float:
    if text in manifest.operating_points:
        return manifest.operating_points[text].alpha
    try:
        alpha = float(text) if "_" not in text else math.nan
    except ValueError:
        alpha = math.nan
    if not math.isfinite(alpha):
        names = ", ".join(manifest.operating_points)
        raise AlphaError(
            f"alpha {text[:64]!r} is neither a finite number nor an operating point of {manifest.name}: {names}"
        )
    if abs(alpha) > largest:
        balanced = manifest.operating_points[DEFAULT_ALPHA].alpha
        raise AlphaRangeError(
            f"alpha {alpha:g} is outside -{largest:g}..{largest:g}; 0 is the plain classifier, "
            f"this model is balanced at {balanced:.3g}"
        )
    return alpha
