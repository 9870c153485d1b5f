"""The routes of a model's operating points: list, describe, set and remove them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from service.context import context_of
from service.inference.registry import ServedModel
from service.schemas.common import ErrorResponse, LineOf100, LineOf500
from service.schemas.document import body_schema
from service.schemas.operating_points import (
    OperatingPointDetail,
    OperatingPointList,
    OperatingPointOrder,
    OperatingPointRecord,
    OperatingPointRemoved,
)
from service.schemas.parameters import FROM_ROUTE, ModelName, ModelVersion, PointName
from service.storage.operating_points import PointInForce
from service.storage.point_changes import Change
from service.web.json_response import iso_time, json_response, operating_point_fields
from service.web.parameter_route import ParameterRoute
from service.web.query_parameters import check_alpha_range

__all__ = ["router"]

router = APIRouter(tags=["operating points"], route_class=ParameterRoute)
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": body_schema(OperatingPointOrder),
                "examples": {
                    "a number": {"value": {"alpha": 1.2}},
                    "with its reason": {
                        "value": {
                            "alpha": 1.2,
                            "chosen_by": "highest balanced accuracy on last week's feedback",
                            "who": "ada",
                            "why": "more night pictures since the new camera",
                        }
                    },
                },
            }
        },
    }
}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorResponse} for status in statuses}


@router.get(
    "/v1/models/{model}/operating-points",
    summary="List the operating points",
    responses={200: {"model": OperatingPointList}, **_errors(404, 422)},
    response_class=Response,
)
async def list_operating_points(request: Request, model: ModelName, version: ModelVersion = None) -> Response:
    """List every name that `alpha` accepts, with its value in force: the bundle's own, or a stored one."""
    context = context_of(request)
    served = context.registry.get(model, version)
    points = context.operating_points.of(served.bundle.manifest)
    shown = {name: operating_point_fields(point) for name, point in points.items()}
    return json_response(_head(served) | {"operating_points": shown})


@router.get(
    "/v1/models/{model}/operating-points/{name}",
    summary="Describe an operating point",
    responses={200: {"model": OperatingPointRecord}, **_errors(404, 422, 503)},
    response_class=Response,
)
async def describe_operating_point(
    request: Request, model: ModelName, name: PointName, version: ModelVersion = None
) -> Response:
    """Get the value in force and the history, newest change first: who, when, why, and the alpha before.

    A point that was removed has only a history, and `in_force` is null.
    """
    context = context_of(request)
    served = context.registry.get(model, version)
    changes = await context.operating_points.history(served.bundle.manifest, name)
    point = context.operating_points.of(served.bundle.manifest).get(name)
    if point is None and not changes:
        context.operating_points.get(served.bundle.manifest, name)  # raises, and lists the names there are
    shown = {"name": name, "in_force": None} if point is None else _rendered(served, name, point)
    return json_response(_head(served) | shown | {"history": [_change(change) for change in changes]})


@router.put(
    "/v1/models/{model}/operating-points/{name}",
    summary="Set an operating point",
    responses={200: {"model": OperatingPointDetail}, **_errors(400, 404, 409, 413, 415, 422, 503)},
    openapi_extra=_BODY,
    response_class=Response,
)
async def set_operating_point(
    request: Request,
    model: ModelName,
    name: PointName,
    order: Annotated[OperatingPointOrder, FROM_ROUTE],
    version: ModelVersion = None,
) -> Response:
    """Set the alpha of a name, new or the bundle's own, for every later request.

    The server answers once the change is stored and every process and replica that shares the database has had time to
    read it. `head` is always 0, the plain classifier.
    """
    context = context_of(request)
    served = context.registry.get(model, version)
    context.operating_points.check_name(served.bundle.manifest, name)
    check_alpha_range(order.alpha, context.settings.max_alpha)
    point = await context.operating_points.set(
        served.bundle.manifest, name, order.alpha, chosen_by=order.chosen_by, who=order.who, why=order.why
    )
    return json_response(_rendered(served, name, point))


@router.delete(
    "/v1/models/{model}/operating-points/{name}",
    summary="Remove a stored operating point",
    responses={200: {"model": OperatingPointRemoved}, **_errors(404, 409, 422, 503)},
    response_class=Response,
)
async def remove_operating_point(
    request: Request,
    model: ModelName,
    name: PointName,
    version: ModelVersion = None,
    who: Annotated[LineOf100, Query(description="who removes it, for the history")] = "anonymous",
    why: Annotated[LineOf500 | None, Query(description="the reason, for the history")] = None,
) -> Response:
    """Remove a stored point. The bundle's own point of that name, if it has one, is in force again."""
    context = context_of(request)
    served = context.registry.get(model, version)
    point = await context.operating_points.remove(served.bundle.manifest, name, who=who, why=why or "")
    return json_response(
        _head(served) | {"name": name, "in_force": None if point is None else operating_point_fields(point)}
    )


def _head(served: ServedModel) -> dict[str, Any]:
    return {"model": served.name, "version": served.bundle.manifest.version}


def _rendered(served: ServedModel, name: str, point: PointInForce) -> dict[str, Any]:
    return _head(served) | {"name": name} | operating_point_fields(point)


def _change(change: Change) -> dict[str, Any]:
    return change._asdict() | {"time": iso_time(change.time)}
