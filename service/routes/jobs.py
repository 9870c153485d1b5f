"""GET and DELETE /v1/jobs/{id}: follow a job, read its result, cancel it."""

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from service.context import context_of
from service.jobs.store import JobRecord
from service.schemas.common import ErrorResponse
from service.schemas.parameters import JobId
from service.schemas.tuning import JobDescription
from service.web.json_response import iso_time
from service.web.parameter_route import ParameterRoute

__all__ = ["describe_job", "router"]

router = APIRouter(tags=["choose alpha"], route_class=ParameterRoute)
_ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorResponse} for status in (404, 422, 503)}


@router.get(
    "/v1/jobs/{id}",
    summary="Describe a job",
    responses={200: {"model": JobDescription}, **_ERRORS},
    response_class=Response,
)
async def get_job(request: Request, id: JobId) -> Response:  # noqa: A002  the path parameter's name
    """Get a job's state, progress, and result or error. Any process or replica that shares the database answers."""
    return _json(await context_of(request).jobs.find(id))


@router.delete(
    "/v1/jobs/{id}",
    summary="Cancel a job",
    responses={200: {"model": JobDescription}, **_ERRORS},
    response_class=Response,
)
async def cancel_job(request: Request, id: JobId) -> Response:  # noqa: A002  the path parameter's name
    """Cancel a job. In another process it stops within about a second. A job that has ended does not change."""
    return _json(await context_of(request).jobs.cancel(id))


def describe_job(record: JobRecord) -> dict[str, Any]:
    """Return a job as the API shows it."""
    return {
        **{name: getattr(record, name) for name in ("id", "model", "version", "state", "done", "total")},
        "result": record.result,
        "error": record.error,
        "created": iso_time(record.created),
        "finished": None if record.finished is None else iso_time(record.finished),
    }


def _json(record: JobRecord) -> Response:
    return Response(orjson.dumps(describe_job(record)), media_type="application/json")
