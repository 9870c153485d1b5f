"""POST /v1/models/{model}/alpha/tune: choose alpha from an archive, from feedback, or from traffic without labels."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import IO, Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from models.objective import ALPHA_RANGE, OBJECTIVES, Constraint, Objective
from service.context import Context, context_of, request_id_of
from service.errors import (
    AlphaRangeError,
    ClientDisconnectedError,
    JobCancelledError,
    MultipartError,
    OverloadedError,
    PriorError,
    RequestError,
    UploadTimeoutError,
)
from service.inference.registry import ServedModel
from service.jobs.runner import Progress, Report, Work
from service.routes.jobs import describe_job
from service.routes.requested_model import Served
from service.schemas.common import ErrorResponse
from service.schemas.tuning import JobAnswer, TuneOrder, TuneReport, TuneRequest
from service.settings import Settings
from service.tuning.archives import open_archive
from service.tuning.sources import refuse_exempt, tune_on_archive, tune_on_feedback, tune_on_traffic
from service.web.bodies import check_charset, limited, media_type_of, read_json, validated
from service.web.query_parameters import parse_since
from service.web.uploads import MULTIPART

__all__ = ["router"]

router = APIRouter(tags=["choose alpha"])
MAX_WAIT_SECONDS = 30.0
UPLOAD_SECONDS = 600.0
MAX_ARCHIVE_NAME_LENGTH = 100
_WAIT = "Seconds to wait for the result; what takes longer is answered with 202 and a job to poll."
_FORM: dict[str, Any] = {
    "archive": {"type": "string", "format": "binary", "description": "a zip of class folders, CLASS/IMAGE"},
    "objective": {"type": "string", "enum": OBJECTIVES, "default": "balanced"},
    "constraint": {"type": "array", "items": {"type": "string"}, "example": ["overall >= 0.7", "many >= 65%"]},
    "low": {"type": "number", "default": ALPHA_RANGE[0], "description": "least alpha looked at"},
    "high": {"type": "number", "default": ALPHA_RANGE[1], "description": "largest alpha looked at"},
    "save_as": {"type": "string", "description": "store alpha as this operating point", "example": "night-shift"},
    "who": {"type": "string", "description": "for the history", "example": "ada"},
    "why": {"type": "string", "description": "for the history", "example": "more night pictures"},
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": TuneRequest.model_json_schema(),
                "examples": {
                    "feedback": {
                        "value": {"source": "feedback", "constraints": ["overall >= 0.7"], "save_as": "today"}
                    },
                    "traffic, where all classes should be equally frequent": {
                        "value": {"source": "traffic", "target": "uniform"}
                    },
                    "traffic, by its own estimated class frequencies": {
                        "value": {"source": "traffic", "target": "estimated", "since": 3600}
                    },
                },
            },
            MULTIPART: {
                "schema": {"type": "object", "required": ["archive"], "properties": _FORM},
                "encoding": {"constraint": {"style": "form", "explode": True}},  # one field each
            },
        },
    }
}


@router.post(
    "/v1/models/{model}/alpha/tune",
    summary="Choose alpha for your data",
    responses={
        200: {"model": TuneReport},
        202: {"model": JobAnswer, "description": "It takes longer: a job to poll, at the address in `Location`"},
        **{status: {"model": ErrorResponse} for status in (400, 404, 409, 413, 415, 422, 500, 503)},
    },
    openapi_extra=_BODY,
    response_class=Response,
)
async def tune_alpha(
    request: Request,
    served: Served,
    wait: Annotated[float, Query(description=_WAIT, ge=0, le=MAX_WAIT_SECONDS)] = 1.0,
) -> Response:
    """Send a zip of class folders (`archive`), or JSON: `{"source": "feedback"}` or `{"source": "traffic"}`.

    The alpha is exact: accuracy against alpha is a step function made of one interval per picture, and its best stretch
    is read off. `save_as` stores it as an operating point. Pictures that cannot be read are listed, and fatal beyond a
    tenth of them. Of an archive with `train` and `test` folders only `test` is used.
    """
    context = context_of(request)
    refuse_exempt(served)
    work = await _work(request, context, served)
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


async def _work(request: Request, context: Context, served: ServedModel) -> Work:
    """Read the request, refuse what can be refused at once, and return what the job is to do."""
    if media_type_of(request) == MULTIPART:
        return await _archive_work(request, context, served)
    order = validated(TuneRequest, await read_json(request, context.settings))
    _check_fields(order, served)
    objective = _objective(order, context.settings)
    _check_name(context, served, order)
    since = None if order.since is None else parse_since(str(order.since), context.feedback.clock())

    async def run(progress: Progress) -> Report:
        if order.source == "feedback":
            return await tune_on_feedback(context, served, since, objective, progress)
        return await tune_on_traffic(context, served, since, order.target, objective, progress)

    def told(report: Report) -> str:
        if order.source == "feedback":
            return f"{objective}, on {report['images']:,} labels of feedback"
        target = order.target if isinstance(order.target, str) else "given"
        return f"mean prediction of {report['images']:,} pictures closest to the {target} prior; no labels used"

    return Work(run, _finisher(context, served, order, order.source, told))


async def _archive_work(request: Request, context: Context, served: ServedModel) -> Work:
    settings = context.settings
    check_charset(request)
    with context.jobs.upload():
        upload, fields = await _read_form(request, settings.max_archive_mb)
    file: IO[bytes] = upload.file
    try:
        order = validated(TuneOrder, fields)
        objective = _objective(order, settings)
        _check_name(context, served, order)
        archive = await asyncio.to_thread(
            open_archive,
            file,
            served.class_indices,
            max_files=settings.max_archive_files,
            max_image_bytes=settings.max_body_bytes,
        )
    except BaseException:
        file.close()
        raise
    name = upload.filename or ""
    name = name if name.isprintable() and 0 < len(name) <= MAX_ARCHIVE_NAME_LENGTH else "an archive"

    async def run(progress: Progress) -> Report:
        return await tune_on_archive(context, served, archive, objective, progress)

    def told(report: Report) -> str:
        return f"{objective}, on {report['images']:,} labelled pictures of {name}"

    return Work(run, _finisher(context, served, order, "archive", told), file.close)


async def _read_form(request: Request, max_mb: float) -> tuple[UploadFile, dict[str, Any]]:
    """Return the archive, which is on disk where it is large, and the other fields; the caller closes the file."""
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            form = await limited(request, max_mb, to_disk=True).form(max_files=1, max_fields=64)
    except TimeoutError as error:
        raise UploadTimeoutError(f"the archive took more than {UPLOAD_SECONDS:g} s to arrive; send less") from error
    except OSError as error:  # the disk is full
        raise OverloadedError(f"the archive cannot be kept at present: {error.strerror}; try again later") from error
    except HTTPException as error:  # Starlette's word for a form it cannot parse
        raise MultipartError(f"the form cannot be read: {error.detail}") from error
    except ClientDisconnect as error:
        raise ClientDisconnectedError("the client hung up while it was sending") from error
    upload = form.get("archive")
    if not isinstance(upload, UploadFile):
        await form.close()
        raise MultipartError("the form has no file in the field 'archive'; send a zip of class folders there")
    texts = [(name, value) for name, value in form.multi_items() if name != "archive"]
    if any(name == "constraints" for name, _ in texts):
        upload.file.close()
        raise RequestError("'constraints' is no field of the form; send each one as 'constraint'")
    constraints = [value for name, value in texts if name == "constraint"]
    return upload, {name: value for name, value in texts if name != "constraint"} | {"constraints": constraints}


def _check_name(context: Context, served: ServedModel, order: TuneOrder) -> None:
    """Refuse a name at once, not when the work is done."""
    if order.save_as is not None:
        context.operating_points.check_name(served.bundle.manifest, order.save_as)


def _finisher(
    context: Context, served: ServedModel, order: TuneOrder, source: str, told: Callable[[Report], str]
) -> Callable[[Report], Awaitable[Report]]:
    """Return what stores the alpha where that was asked for, and completes the report."""
    manifest = served.bundle.manifest

    async def finish(report: Report) -> Report:
        if order.save_as is not None:
            await context.operating_points.set(
                manifest, order.save_as, report["alpha"], chosen_by=told(report), who=order.who, why=order.why
            )
        about = {"model": manifest.name, "version": manifest.version, "source": source}
        return about | report | {"saved_as": order.save_as}

    return finish


def _check_fields(order: TuneRequest, served: ServedModel) -> None:
    """Refuse what would be ignored.

    Raises:
        RequestError: a field that means nothing for this source.
        PriorError: a target that names other classes than the model's.

    """
    given = order.model_fields_set
    if isinstance(order.target, dict) and len(order.target) != len(served.class_indices):
        raise PriorError(
            f"target has {len(order.target)} weights; give one for each of {len(served.class_indices)} classes"
        )
    if order.source == "traffic" and (strangers := given & {"objective", "constraints"}):
        raise RequestError(
            f"{min(strangers)}: traffic has no labels to measure it on; its alpha is where the mean prediction comes "
            "closest to `target`"
        )
    if order.source == "feedback" and "target" in given:
        raise RequestError("target: only traffic is matched to a target; feedback has labels, choose an `objective`")


def _objective(order: TuneOrder, settings: Settings) -> Objective:
    """Return the objective; what makes no sense in it is a TuningError.

    Raises:
        AlphaRangeError: it looks further than this server lets alpha go.

    """
    if max(abs(order.low), abs(order.high)) > settings.max_alpha:
        raise AlphaRangeError(f"alpha is looked for within -{settings.max_alpha:g}..{settings.max_alpha:g} at most")
    return Objective(order.objective, tuple(map(Constraint.parse, order.constraints)), order.low, order.high)
