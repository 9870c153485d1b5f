"""POST /v1/feedback and GET /v1/models/{model}/feedback: send labels for results, and read their summary."""

import asyncio
import math
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from service.context import context_of, request_id_of
from service.errors import RequestError, ServiceError, TooManyLabelsError, describe
from service.feedback.label_evaluation import Feedback
from service.inference.registry import ServedModel
from service.schemas.common import ErrorResponse
from service.schemas.document import body_schema
from service.schemas.feedback import FeedbackRequest, FeedbackResponse, FeedbackSummary
from service.schemas.parameters import ModelName, ModelVersion, Since
from service.web.bodies import read_json
from service.web.json_response import json_response
from service.web.parameter_route import ParameterRoute, QueryRoute
from service.web.query_parameters import parse_since

__all__ = ["labels", "router"]

router = APIRouter(tags=["feedback"], route_class=ParameterRoute)
labels = APIRouter(tags=["feedback"], route_class=QueryRoute)
MAX_LAST = 1_000_000
MAX_INDEX = 2**53  # a larger float may stand for several integers
_LAST = "How many of the newest labels the optimum is computed from. Default: the setting `drift_labels`."
_ID = "01a20dac039c7aa3912d77855a3cfdb1"
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": body_schema(FeedbackRequest),
                "examples": {
                    "one": {"value": {"id": _ID, "label": "truck"}},
                    "several": {"value": [{"id": _ID, "label": "truck"}, {"id": _ID, "label": 9}]},
                },
            }
        },
    }
}


@labels.post(
    "/v1/feedback",
    summary="Send labels for one or more results",
    responses={
        200: {"model": FeedbackResponse},
        **{status: {"model": ErrorResponse} for status in (404, 409, 410, 413, 415, 422, 503)},
    },
    openapi_extra=_BODY,
    response_class=Response,
)
async def send_feedback(request: Request) -> Response:
    """Send `{"id": a result's id, "label": class name or index}`, or a list of these.

    The server answers once the label is stored, and says at which alphas the label is the top class. Sending the same
    label again changes nothing. Another label replaces the first while the result is kept (`keep_results_seconds`). In
    a list, a label that cannot be stored gets its own `error`; the others are stored.
    """
    context = context_of(request)
    body = await read_json(request, context.settings.max_json_mb, context.body_budget)
    if not isinstance(body, list):
        outcome = (await context.feedback.record([_item(body)]))[0]
        if isinstance(outcome, ServiceError):
            raise outcome
        return json_response(_rendered(context.registry.get(outcome.model, outcome.version), outcome))
    if len(body) > context.settings.max_feedback:
        raise TooManyLabelsError(f"{len(body)} labels in one request; send at most {context.settings.max_feedback}")
    items = [_item_or_error(entry) for entry in body]
    outcomes = iter(await context.feedback.record([item for item in items if not isinstance(item, ServiceError)]))
    results = []
    for entry, item in zip(body, items, strict=True):
        outcome = item if isinstance(item, ServiceError) else next(outcomes)
        if isinstance(outcome, Feedback):
            results.append(_rendered(context.registry.get(outcome.model, outcome.version), outcome))
        else:
            told = describe(outcome)
            failure = {"code": told.code, "message": told.message, "request_id": request_id_of(request)}
            name = entry.get("id") if isinstance(entry, dict) else None
            results.append({"id": name if isinstance(name, str) else None, "error": failure})
    return json_response({"results": results})


@router.get(
    "/v1/models/{model}/feedback",
    summary="Summarize the labels of a model",
    responses={200: {"model": FeedbackSummary}, **{s: {"model": ErrorResponse} for s in (404, 422, 503)}},
    response_class=Response,
)
async def summarize_feedback(
    request: Request,
    model: ModelName,
    version: ModelVersion = None,
    since: Since = None,
    last: Annotated[int | None, Query(description=_LAST, ge=1, le=MAX_LAST)] = None,
) -> Response:
    """Get label counts, the best alpha for the newest labels, and how far the alpha in force is from it."""
    context = context_of(request)
    served = context.registry.get(model, version)
    after = parse_since(since, context.feedback.clock())
    if context.drift_monitor.is_heavy(last):
        return json_response(
            await context.heavy_queries.run(lambda: context.drift_monitor.summary(served, since=after, last=last))
        )
    read = await context.database.run(
        lambda connection: context.drift_monitor.read(connection, served, since=after, last=last)
    )
    return json_response(await asyncio.to_thread(context.drift_monitor.figures, served, read))


def _item(entry: Any) -> tuple[str, str | int]:
    """Return the id and the label of one entry.

    Raises:
        RequestError: the entry is not a label.

    """
    if not isinstance(entry, dict):
        raise RequestError('a label is an object {"id": "…", "label": "…"}; send one or a list of them')
    if unknown := entry.keys() - {"id", "label"}:
        raise RequestError(f"unknown field {min(unknown)[:64]!r}; a label has `id` and `label`")
    result_id = entry.get("id")
    label = entry.get("label")
    if not isinstance(result_id, str):
        raise RequestError("a label's `id` must be the id of a result, a string of 32 hexadecimal digits")
    if isinstance(label, float) and label.is_integer() and abs(label) <= MAX_INDEX:
        label = int(label)  # how pandas writes an index
    if isinstance(label, bool) or not isinstance(label, str | int):
        raise RequestError("a label's `label` must be the name of a class, a string, or its index, an integer")
    return result_id, label


def _item_or_error(entry: Any) -> tuple[str, str | int] | RequestError:
    try:
        return _item(entry)
    except RequestError as error:
        return error


def _rendered(served: ServedModel, stored: Feedback) -> dict[str, Any]:
    ends = None
    if stored.low is not None and stored.high is not None:
        ends = [end if math.isfinite(end) else None for end in (stored.low, stored.high)]
    label = {"index": stored.label, "name": served.bundle.manifest.classes[stored.label].name}
    return {
        "id": stored.result_id,
        "model": stored.model,
        "version": stored.version,
        "label": label,
        "interval": ends,
    }
