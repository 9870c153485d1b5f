"""The parameters that need more than a type: `alpha`, `top_k`, `prior` and `since`."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.manifest import Manifest
from models.prior import prior_shift, target_prior
from service.errors import AlphaError, AlphaRangeError, PriorError, RequestError, TooManyAlphasError, TopKError
from service.settings import Settings
from service.storage.operating_points import DEFAULT_ALPHA, PointInForce
from service.web.bodies import parse_json

__all__ = ["DEFAULT_TOP_K", "check_alpha_range", "parse_alphas", "parse_prior", "parse_since", "parse_top_k"]

DEFAULT_TOP_K = 5
Float32 = NDArray[np.float32]


def parse_alphas(
    values: Sequence[str], points: Mapping[str, PointInForce], model: str, settings: Settings
) -> tuple[float, ...]:
    """Return the alphas of the parameters `alpha=…`, in the order given; each is a number or an operating point.

    Args:
        values: the parameters' values; if there are none, the result is the model's default alpha.
        points: the model's operating points in force.
        model: the model's name, for error messages.
        settings: `max_alpha` and `max_alphas` apply.

    Raises:
        AlphaError: a value is neither a finite number nor an operating point of this model.
        AlphaRangeError: a number is outside -max_alpha..max_alpha.
        TooManyAlphasError: there are more than max_alphas values.

    """
    if len(values) > settings.max_alphas:
        raise TooManyAlphasError(f"{len(values)} values of alpha; send at most {settings.max_alphas} in one request")
    return tuple(_parse_alpha(value, points, model, settings.max_alpha) for value in values or (DEFAULT_ALPHA,))


def check_alpha_range(alpha: float, max_alpha: float, what: str = "alpha", balanced: float | None = None) -> None:
    """Check that an alpha is within what the server allows.

    Args:
        alpha: the number given.
        max_alpha: the largest size allowed, the setting `max_alpha`.
        what: how the message names the number, such as "input 'alpha', element 3:".
        balanced: the model's `balanced` operating point, for the message; None leaves it out.

    Raises:
        AlphaRangeError: it is outside -max_alpha..max_alpha.

    """
    if not abs(alpha) <= max_alpha:
        hint = "" if balanced is None else f", this model is balanced at {balanced:.3g}"
        raise AlphaRangeError(
            f"{what} {alpha:g} is outside -{max_alpha:g}..{max_alpha:g}; 0 is the plain classifier{hint}"
        )


def parse_top_k(top_k: int | None, manifest: Manifest) -> int:
    """Return the number of classes in an answer; the default is 5, or all if there are fewer.

    Raises:
        TopKError: the number is below 1 or above the number of classes.

    """
    classes = len(manifest.classes)
    if top_k is None:
        return min(DEFAULT_TOP_K, classes)
    if not 1 <= top_k <= classes:
        raise TopKError(f"top_k {top_k} is outside 1..{classes}, the number of classes of {manifest.name}")
    return top_k


def parse_prior(text: str | None, bundle: Bundle) -> Float32 | None:
    """Return what `prior=…` adds to the logits: (C,) log p_target − log p_train, or None for the training prior.

    Raises:
        PriorError: the text is neither a known word nor an object with a weight for every class, or the model has no
            class counts to adjust.

    """
    if text in {None, "train"}:
        return None
    target: Any = text
    if str(text).lstrip().startswith("{"):
        try:
            target = parse_json(str(text).encode(), "prior")
        except RequestError as error:
            raise PriorError(str(error)) from error
        if not all(isinstance(weight, int | float) and not isinstance(weight, bool) for weight in target.values()):
            raise PriorError("prior: every weight must be a number")
    try:
        names = [info.name for info in bundle.manifest.classes]
        return prior_shift(target_prior(target, names, bundle.class_counts), bundle.class_counts).astype(np.float32)
    except (ValueError, OverflowError) as error:
        raise PriorError(str(error)) from error


def parse_since(text: str | None, now: float) -> float | None:
    """Return the time of `since=…` in seconds since 1970.

    The text is an ISO 8601 time, in UTC if it has no offset, or a number of seconds before now.

    Raises:
        RequestError: the text is neither, or outside the years that Python supports.

    >>> parse_since("2026-11-23T12:00:00Z", 0), parse_since("90", 1000), parse_since(None, 0)
    (1795435200.0, 910.0, None)

    """
    if text is None:
        return None
    try:
        seconds = float(text) if "_" not in text else math.nan
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise RequestError(
            f"since {text[:64]!r} is not a time; write 2026-11-23T12:00:00Z (in a URL, write + as %2B), or 3600 for "
            "the last hour"
        )
    return now - seconds


def _parse_alpha(text: str, points: Mapping[str, PointInForce], model: str, max_alpha: float) -> float:
    if text in points:
        return points[text].alpha
    try:
        alpha = float(text) if "_" not in text else math.nan
    except ValueError:
        alpha = math.nan
    if not math.isfinite(alpha):
        names = ", ".join(points)
        raise AlphaError(f"alpha {text[:64]!r} is neither a finite number nor an operating point of {model}: {names}")
    check_alpha_range(alpha, max_alpha, balanced=points[DEFAULT_ALPHA].alpha)
    return alpha
