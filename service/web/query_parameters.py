"""What a query string means: alpha values, top_k, a prior, and since when."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.bundle import Bundle
from models.manifest import Manifest
from models.prior import prior_shift, target_prior
from service.errors import AlphaError, AlphaRangeError, PriorError, RequestError, TooManyAlphasError, TopKError
from service.settings import Settings
from service.storage.operating_points import DEFAULT_ALPHA, PointInForce

__all__ = ["DEFAULT_TOP_K", "check_alpha_range", "parse_alphas", "parse_prior", "parse_since", "parse_top_k"]

DEFAULT_TOP_K = 5
Float32 = NDArray[np.float32]


def parse_alphas(
    values: Sequence[str], points: Mapping[str, PointInForce], model: str, settings: Settings
) -> tuple[float, ...]:
    """Return the numbers meant by `alpha=…`, in the order asked; names and numbers may be mixed.

    Args:
        values: as they came.
        points: the operating points in force.
        model: its name, for errors.
        settings: the limits.

    Raises:
        AlphaError: neither a finite number nor an operating point of this model.
        AlphaRangeError: larger than the server allows.
        TooManyAlphasError: more values than the server allows.

    """
    if len(values) > settings.max_alphas:
        raise TooManyAlphasError(f"{len(values)} values of alpha; at most {settings.max_alphas} fit into one request")
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


def parse_prior(text: str | None, bundle: Bundle) -> Float32 | None:
    """Return what `prior=…` adds to the logits, (C,) log p_target − log p_train, or None for the training prior.

    Raises:
        PriorError: neither a word we know nor a weight for every class, or the model cannot be adjusted.

    """
    if text in {None, "train"}:
        return None
    wanted: Any = text
    if str(text).lstrip().startswith("{"):
        try:
            wanted = orjson.loads(str(text))
        except orjson.JSONDecodeError as error:
            raise PriorError(f"prior is not a JSON object: {error}") from error
        if not all(isinstance(weight, int | float) and not isinstance(weight, bool) for weight in wanted.values()):
            raise PriorError("prior: every weight must be a number")
    try:
        target = target_prior(wanted, [info.name for info in bundle.manifest.classes], bundle.class_counts)
        return prior_shift(target, bundle.class_counts).astype(np.float32)
    except (ValueError, OverflowError) as error:
        raise PriorError(str(error)) from error


def parse_since(text: str | None, now: float) -> float | None:
    """Return the time meant by `since=…` in seconds since 1970: a time of ISO 8601, or so many seconds before now.

    A time without an offset is UTC.

    Raises:
        RequestError: neither, or not a time a clock can show.

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
            f"since {text[:64]!r} is no time; write 2026-11-23T12:00:00Z (a + in an address is %2B), or 3600 for the "
            "last hour"
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
