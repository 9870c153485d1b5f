"""POST /v1/models/{model}/alpha/tune: choose alpha on an archive, on feedback, or on traffic without labels."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from typing_extensions import override

from models.objective import ALPHA_RANGE, OBJECTIVES, Constraint, Objective
from service.context import Context, context_of, request_id_of
from service.errors import JobCancelledError, MultipartError, PriorError, RequestError
from service.inference.registry import ServedModel
from service.jobs.job import Progress, Report, Work
from service.routes.jobs import describe_job
from service.schemas.common import ErrorResponse
from service.schemas.document import body_schema
from service.schemas.parameters import FROM_ROUTE, ModelName, ModelVersion
from service.schemas.tuning import ENCODING, JobAnswer, TuneReport, TuneRequest
from service.settings import Settings
from service.storage.operating_points import OperatingPoints
from service.tuning.archives import open_archive
from service.tuning.exempt_class import refuse_exempt
from service.tuning.tune_on_archive import tune_on_archive
from service.tuning.tune_on_feedback import tune_on_feedback
from service.tuning.tune_on_traffic import tune_on_traffic
from service.web.archive_form import ARCHIVE_FIELD, Archive, closed_on_error, read_archive_form
from service.web.parameter_route import MULTIPART, ParameterRoute
from service.web.query_parameters import check_alpha_range, parse_since
from service.web.uploads import is_form

__all__ = ["router"]

MAX_WAIT_SECONDS = 30.0
MAX_ARCHIVE_NAME_LENGTH = 100
_WAIT = "Seconds to wait for the result. If it takes longer, the answer is 202 with a job to poll."
_ON_RESULTS = """Choose alpha on earlier results: those with labels (`feedback`), or recent ones without (`traffic`).

`POST …/alpha/tune` takes the same JSON."""
_FORM: dict[str, Any] = {
    ARCHIVE_FIELD: {
        "type": "string",
        "format": "binary",
        "description": "a zip file with a folder of pictures for each class, CLASS/IMAGE",
    },
    "encoding": {"type": "string", "description": ENCODING, "example": "cp850"},
    "objective": {"type": "string", "enum": OBJECTIVES, "default": "balanced"},
    "constraint": {"type": "array", "items": {"type": "string"}, "example": ["overall >= 0.7", "many >= 65%"]},
    "low": {"type": "number", "default": ALPHA_RANGE[0], "description": "the lowest alpha to consider"},
    "high": {"type": "number", "default": ALPHA_RANGE[1], "description": "the highest alpha to consider"},
    "save_as": {"type": "string", "description": "store the alpha as this operating point", "example": "night-shift"},
    "who": {"type": "string", "description": "who asks for it, for the history", "example": "ada"},
    "why": {"type": "string", "description": "the reason, for the history", "example": "more night pictures"},
}
# Each kind of body has an address of its own in the document, because most client generators write a method for one
# kind only. The server takes both kinds at both addresses.
_FORM_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            MULTIPART: {
                "schema": {"title": "TuneForm", "type": "object", "required": ["archive"], "properties": _FORM},
                "encoding": {"constraint": {"style": "form", "explode": True}},  # one form field for each constraint
            }
        },
    }
}
_JSON_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": body_schema(TuneRequest),
                "examples": {
                    "feedback": {
                        "value": {"source": "feedback", "constraints": ["overall >= 0.7"], "save_as": "today"}
                    },
                    "traffic, if all classes should be equally frequent": {
                        "value": {"source": "traffic", "target": "uniform"}
                    },
                    "traffic, by its own estimated class frequencies": {
                        "value": {"source": "traffic", "target": "estimated", "since": 3600}
                    },
                },
            }
        },
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": TuneReport},
    202: {
        "model": JobAnswer,
        "description": "The result takes longer than `wait`: a job to poll at the address in `Location`",
        "headers": {"Location": {"description": "The job's address", "schema": {"type": "string"}}},
    },
    **{status: {"model": ErrorResponse} for status in (400, 404, 408, 409, 413, 415, 422, 500, 503)},
}


class _TuneRoute(ParameterRoute):
    """The route of tuning: a form may also have an archive, which goes to disk if it is large."""

    @override
    async def answer(self, request: Request) -> Response:
        if not is_form(request):
            return await super().answer(request)
        context = context_of(request)
        in_query = self.in_query(request)
        _check_early(context, request.path_params["model"], in_query.get("version"))
        with context.jobs.upload():
            archive, in_form = await read_archive_form(request, context.settings, self.parameters)
        with closed_on_error(archive):
            if "source" not in in_query:
                in_form.setdefault("source", "archive")
            if archive is None and in_form.get("source") == "archive":
                raise MultipartError(
                    f"the form has no file in the field {ARCHIVE_FIELD!r}; send a zip file of class folders there, or "
                    "choose on `feedback` or `traffic` with `source`"
                )
            arguments = self.parameters.arguments(in_query, in_form)
        response: Response = await self.endpoint(request, **request.path_params, **arguments, archive=archive)
        return response


def _check_early(context: Context, model: str, version: int | None) -> None:
    """Refuse an archive before it is read if no version of the model that the request can mean can be tuned."""
    served = context.registry.get(model, version)
    versions = [served] if version is not None else context.registry.versions_of(model)
    if len(versions) == 1:
        refuse_exempt(served)


router = APIRouter(tags=["choose alpha"], route_class=_TuneRoute)


@router.post(
    "/v1/models/{model}/alpha/tune-on-results",
    name="tune_alpha_on_results",
    summary="Choose alpha on feedback or traffic",
    description=_ON_RESULTS,
    responses=_ANSWERS,
    openapi_extra=_JSON_BODY,
    response_class=Response,
)
@router.post(
    "/v1/models/{model}/alpha/tune",
    summary="Choose alpha on labelled pictures",
    responses=_ANSWERS,
    openapi_extra=_FORM_BODY,
    response_class=Response,
)
async def tune_alpha(
    request: Request,
    model: ModelName,
    order: Annotated[TuneRequest, FROM_ROUTE],
    version: ModelVersion = None,
    wait: Annotated[float, Query(description=_WAIT, ge=0, le=MAX_WAIT_SECONDS)] = 1.0,
    archive: Annotated[Archive | None, FROM_ROUTE] = None,
) -> Response:
    """Send a form with a zip file of class folders, `archive`. This address takes the JSON of `tune-on-results`, too.

    The alpha is exact: accuracy against alpha is a step function with one interval per picture, and the server returns
    the middle of its best step. `save_as` stores it as an operating point. Pictures that cannot be read are listed; if
    they are more than a tenth, the request fails. Of an archive with split folders, only `test` is used, or without it
    `val`, and never `train`; `data_note` says what was left out.
    """
    context = context_of(request)
    with closed_on_error(archive):  # until a job has it
        served = context.registry.get(model, version)
        refuse_exempt(served)
        _check_fields(order, served, archive)
        objective = _objective(order, context.settings)
        _check_name(context.operating_points, served, order)
        if archive is None:
            work = _work(context, served, order, objective)
        else:
            work = await _archive_work(context, served, order, objective, archive)
    manifest = served.bundle.manifest
    job = await context.jobs.submit(manifest.name, manifest.version, request_id_of(request), work)
    if not await job.wait(wait):
        location = f"/v1/jobs/{job.id}"
        body = {"job": describe_job(await context.jobs.find(job.id))}
        return Response(orjson.dumps(body), 202, {"Location": location}, "application/json")
    if job.failure is not None:
        raise job.failure
    if job.result is None:
        raise JobCancelledError(f"job {job.id} was cancelled while this request waited for it")
    return Response(orjson.dumps(job.result), media_type="application/json")


def _work(context: Context, served: ServedModel, order: TuneRequest, objective: Objective) -> Work:
    """Return the work of a job on feedback or traffic."""
    since = None if order.since is None else parse_since(str(order.since), context.feedback.clock())

    async def run(progress: Progress) -> Report:
        if order.source == "feedback":
            return await tune_on_feedback(context.feedback, context.jobs.compute, served, since, objective, progress)
        return await tune_on_traffic(
            context.results, context.jobs.compute, served, since, order.target, objective, progress
        )

    def chosen_by(report: Report) -> str:
        if order.source == "feedback":
            return f"{objective}, on {report['images']:,} labels of feedback"
        target = order.target if isinstance(order.target, str) else "given"
        return f"mean prediction of {report['images']:,} pictures closest to the {target} prior; no labels used"

    return Work(run, _finisher(context.operating_points, served, order, chosen_by))


async def _archive_work(
    context: Context, served: ServedModel, order: TuneRequest, objective: Objective, upload: Archive
) -> Work:
    """Return the work of a job on an archive."""
    archive = await asyncio.to_thread(
        open_archive,
        upload.file,
        served.class_indices,
        max_files=context.settings.max_archive_files,
        max_image_bytes=context.settings.max_body_bytes,
        encoding=order.encoding,
    )
    can_be_shown = upload.name.isprintable() and 0 < len(upload.name) <= MAX_ARCHIVE_NAME_LENGTH
    name = upload.name if can_be_shown else "an archive"

    async def run(progress: Progress) -> Report:
        return await tune_on_archive(context.worker, context.jobs.compute, served, archive, objective, progress)

    def chosen_by(report: Report) -> str:
        return f"{objective}, on {report['images']:,} labelled pictures of {name}"

    return Work(run, _finisher(context.operating_points, served, order, chosen_by), upload.file.close)


def _check_name(points: OperatingPoints, served: ServedModel, order: TuneRequest) -> None:
    """Refuse a name before the job starts instead of after it."""
    if order.save_as is not None:
        points.check_name(served.bundle.manifest, order.save_as)


def _finisher(
    points: OperatingPoints, served: ServedModel, order: TuneRequest, chosen_by: Callable[[Report], str]
) -> Callable[[Report], Awaitable[Report]]:
    """Return the function that stores the alpha if `save_as` asks for it, and completes the report."""
    manifest = served.bundle.manifest

    async def finish(report: Report) -> Report:
        if order.save_as is not None:
            await points.set(
                manifest, order.save_as, report["alpha"], chosen_by=chosen_by(report), who=order.who, why=order.why
            )
        origin = {"model": manifest.name, "version": manifest.version, "source": order.source}
        return origin | report | {"saved_as": order.save_as}

    return finish


def _check_fields(order: TuneRequest, served: ServedModel, archive: Archive | None) -> None:
    """Refuse fields that this source would ignore.

    Raises:
        RequestError: the source is an archive, and there is none; or a field does not apply to this source.
        PriorError: a target does not have one weight for each class.

    """
    fields = order.model_fields_set
    if order.source == "archive" and archive is None:
        raise RequestError(
            f"source: there is no archive; send a zip file of class folders as {MULTIPART} in the field "
            f"{ARCHIVE_FIELD!r}, or give `feedback` or `traffic`"
        )
    if order.source != "archive" and archive is not None:
        raise RequestError(f"source: {order.source} needs no archive; leave out one of them")
    if others := fields & ({"since", "target"} if order.source == "archive" else {"encoding"}):
        raise RequestError(f"{min(others)}: does not apply to {order.source.replace('archive', 'an archive')}")
    if isinstance(order.target, dict) and len(order.target) != len(served.class_indices):
        raise PriorError(
            f"target has {len(order.target)} weights; give one for each of {len(served.class_indices)} classes"
        )
    if order.source == "traffic" and (needing_labels := fields & {"objective", "constraints"}):
        raise RequestError(
            f"{min(needing_labels)}: does not apply to traffic, which has no labels; its alpha is the one at which the "
            "mean prediction is closest to `target`"
        )
    if order.source == "feedback" and "target" in fields:
        raise RequestError("target: applies to traffic only; for feedback, which has labels, give an `objective`")


def _objective(order: TuneRequest, settings: Settings) -> Objective:
    """Return the objective of a request.

    Raises:
        AlphaRangeError: `low` or `high` is outside what this server allows.
        TuningError: the objective or a constraint is unknown, or they contradict each other.

    """
    for what, alpha in (("low", order.low), ("high", order.high)):
        check_alpha_range(alpha, settings.max_alpha, what)
    return Objective(order.objective, tuple(map(Constraint.parse, order.constraints)), order.low, order.high)
