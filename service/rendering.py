"""From one image's logits and head cosine to the predictions at each alpha asked for.

The network ran once; here alpha is applied (`models/tde.py`), per request, so a batch may mix any number of them.
"""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
from fastapi import Response

from models import tde
from service.engines.base import Float
from service.registry import ServedModel
from service.storage.operating_points import PointInForce

__all__ = ["iso_time", "json_answer", "operating_point", "predictions"]


def predictions(
    served: ServedModel,
    logits: Float,
    head_cosine: Float,
    alphas: list[float],
    top_k: int,
    prior_shift: Float | None = None,
) -> list[dict[str, Any]]:
    """Return one prediction per alpha, each with its top classes, most probable first, lower index first where equal.

    Args:
        served: the model.
        logits: (C,) at alpha 0.
        head_cosine: (K,).
        alphas: A numbers.
        top_k: how many classes.
        prior_shift: (C,) log p_target − log p_train, added at every alpha; None adds nothing.
    """
    manifest, count = served.bundle.manifest, len(alphas)
    factual = np.broadcast_to(logits, (count, len(logits)))
    cosines = np.broadcast_to(head_cosine, (count, len(head_cosine)))
    shifted = tde.tde_logits(factual, cosines, served.bundle.class_effect, np.asarray(alphas))
    if prior_shift is not None:
        shifted = shifted + prior_shift
    if manifest.exempt_class is None:
        probabilities = tde.softmax(shifted)
    else:
        probabilities = tde.exempt_probabilities(factual, shifted, manifest.exempt_class)
    order = np.lexsort((-shifted, -probabilities), axis=-1)[:, :top_k]
    return [
        {
            "alpha": alpha,
            "classes": [
                {
                    "index": int(index),
                    "name": manifest.classes[index].name,
                    "probability": probabilities[row, index],
                    "logit": shifted[row, index],
                    "group": manifest.classes[index].group,
                }
                for index in order[row]
            ],
        }
        for row, alpha in enumerate(alphas)
    ]


def operating_point(point: PointInForce) -> dict[str, Any]:
    """Return an operating point as the API shows it."""
    return point._asdict() | {"since": None if point.since is None else iso_time(point.since)}


def json_answer(body: Any) -> Response:
    """Return a body as an answer."""
    return Response(orjson.dumps(body), media_type="application/json")


def iso_time(seconds: float) -> str:
    """Return a time, in seconds since 1970, as text that `since=` understands in an address.

    >>> iso_time(1795435200.5)
    '2026-11-23T12:00:00.500Z'
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
