"""The routes that look along alpha: which classes win for a picture, and a model's accuracy curve."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Query, Request, Response

from engines.base import Float
from models import tde
from models.accuracy import LabelledIntervals
from models.alpha_path import alpha_path
from models.objective import Objective
from models.optimum import optimum
from models.tuning import curve_points
from service.context import context_of
from service.errors import AlphaRangeError, NoCurveError, RequestError
from service.feedback.store import FeedbackStore
from service.inference.network_output import NetworkOutput
from service.inference.queries import OutputQuery
from service.inference.registry import ServedModel
from service.schemas.alpha import AlphaPathResponse, CurveResponse
from service.schemas.common import ErrorResponse
from service.schemas.parameters import ModelName, ModelVersion, PathFrom, PathTo, Prior, Since, TimeoutMs
from service.tuning.exempt_class import refuse_exempt
from service.web.json_response import json_response
from service.web.parameter_route import ParameterRoute
from service.web.picture_requests import PicturePlan, PictureRoute
from service.web.query_parameters import check_alpha_range, parse_prior, parse_since

__all__ = ["pictures", "router"]

LOW, HIGH, POINTS = -2.0, 5.0, 141  # of a curve from feedback
router = APIRouter(tags=["choose alpha"], route_class=ParameterRoute)
pictures = APIRouter(tags=["choose alpha"], route_class=PictureRoute)


class PathQuery(NamedTuple):
    """The range of alpha that a path covers, and what a prior adds to the logits, (C,) or None."""

    low: float
    high: float
    prior_shift: Float | None


@pictures.post(
    "/v1/models/{model}/alpha-path",
    summary="Find the winning class at every alpha",
    responses={
        200: {"model": AlphaPathResponse},
        **{status: {"model": ErrorResponse} for status in (400, 404, 413, 415, 422, 500, 503, 504)},
    },
    response_class=Response,
    response_model=None,
)
def read_alpha_path(
    request: Request,
    model: ModelName,
    version: ModelVersion = None,
    from_: PathFrom = None,
    to: PathTo = None,
    prior: Prior = None,
    timeout_ms: TimeoutMs = None,
) -> PicturePlan:
    """Send pictures as for classify. The path is exact: ascending, without gaps, and with each class at most once.

    Each step is an interval of alpha in which one class has the highest probability. Where two steps meet, their
    classes tie.
    """
    served = context_of(request).registry.get(model, version)
    refuse_exempt(served)
    low = -math.inf if from_ is None else from_
    high = math.inf if to is None else to
    if not (low < high and low < math.inf and high > -math.inf):
        raise AlphaRangeError(f"a path from alpha {low:g} to {high:g} is empty; `from` must be below `to`")
    query = OutputQuery(_paths, PathQuery(low, high, parse_prior(prior, served.bundle)), heavy=True)
    return PicturePlan(served, query, lambda _, steps: {"path": steps}, timeout_ms)


def _paths(served: ServedModel, output: NetworkOutput, queries: Sequence[PathQuery]) -> list[list[dict[str, Any]]]:
    """Return each picture's path as the answer shows it."""
    classes = served.bundle.manifest.classes
    slopes = tde.head_effect(output.head_cosine, served.bundle.class_effect)
    paths = []
    for logits, slope, (low, high, shift) in zip(output.logits, slopes, queries, strict=True):
        steps = alpha_path(logits if shift is None else logits + shift, slope, low, high)
        paths.append(
            [
                {
                    "from": _finite_or_none(step.low),
                    "to": _finite_or_none(step.high),
                    "index": step.class_index,
                    "name": classes[step.class_index].name,
                    "group": classes[step.class_index].group,
                }
                for step in steps
            ]
        )
    return paths


@router.get(
    "/v1/models/{model}/alpha/curve",
    summary="Plot accuracy against alpha",
    responses={
        200: {"model": CurveResponse},
        **{status: {"model": ErrorResponse} for status in (404, 422, 503)},
    },
    response_class=Response,
)
async def read_accuracy_curve(
    request: Request,
    model: ModelName,
    version: ModelVersion = None,
    source: Annotated[
        Literal["bundle", "feedback"],
        Query(description="`bundle`: as measured when the bundle was made; `feedback`: from the labels received since"),
    ] = "bundle",
    since: Since = None,
    low: Annotated[float | None, Query(description=f"For feedback: the lowest alpha. Default: {LOW:g}.")] = None,
    high: Annotated[float | None, Query(description=f"For feedback: the highest alpha. Default: {HIGH:g}.")] = None,
    points: Annotated[
        int | None, Query(description=f"For feedback: the number of alphas. Default: {POINTS}.", ge=2, le=2001)
    ] = None,
) -> Response:
    """Get accuracy at evenly spaced alphas, exactly: overall, by group, and the means of per-class recall."""
    context = context_of(request)
    served = context.registry.get(model, version)
    if source == "bundle":
        given = {"since": since, "low": low, "high": high, "points": points}
        if unused := [name for name, value in given.items() if value is not None]:
            raise RequestError(
                f"{unused[0]}: does not apply to the bundle's curve, which was measured before; leave it out, or give "
                "`source=feedback`"
            )
        answer = _bundle_curve(served)
    else:
        refuse_exempt(served)
        low = LOW if low is None else low
        high = HIGH if high is None else high
        points = POINTS if points is None else points
        since_seconds = parse_since(since, context.feedback.clock())
        for what, end in (("low", low), ("high", high)):
            check_alpha_range(end, context.settings.max_alpha, what)
        if low > high:
            raise AlphaRangeError(f"low {low:g} is above high {high:g}; give the lower one as low")
        draw = partial(curve_points, low=low, high=high, points=points)
        answer = await context.heavy_queries.run(lambda: _feedback_curve(context.feedback, served, since_seconds, draw))
    return json_response(answer)


def _bundle_curve(served: ServedModel) -> dict[str, Any]:
    metrics = served.bundle.manifest.metrics
    curve = metrics.get("curve")
    if not isinstance(curve, dict) or not {"alphas", "figures"} <= curve.keys():
        raise NoCurveError(
            f"the bundle of {served.name} has no curve; `python -m training evaluate BUNDLE --data … --save` adds one"
        )
    images = curve.get("images", metrics.get("images"))
    data = curve.get("data", metrics.get("data"))
    points = {name: curve[name] for name in ("alphas", "figures")}
    return {"source": "bundle", "images": images, "data": data, **points, "optimum": None}


def _feedback_curve(
    feedback: FeedbackStore,
    served: ServedModel,
    since: float | None,
    draw: Callable[[LabelledIntervals], dict[str, Any]],
) -> dict[str, Any]:
    manifest = served.bundle.manifest
    labels, intervals = feedback.intervals(manifest.name, manifest.version, since)
    if not len(labels):
        raise NoCurveError(f"there is no feedback for {manifest.name} yet; send labels to /v1/feedback")
    images = LabelledIntervals(labels, intervals, tuple(info.group for info in manifest.classes))
    best = optimum(images, Objective())
    return {
        "source": "feedback",
        "images": len(labels),
        "data": None,
        **draw(images),
        "optimum": {"alpha": best.alpha, "interval": [best.low, best.high], "value": best.value},
    }


def _finite_or_none(alpha: float) -> float | None:
    return alpha if math.isfinite(alpha) else None
