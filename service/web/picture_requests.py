"""Answers requests that carry pictures: read them, admit them, run the network, and render the results.

If a picture in a form is broken, its result holds an `error`. If all of them are broken, the request fails with the
first one's error.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from fastapi import Request, Response
from typing_extensions import override

from models.errors import ImageError
from service.context import context_of, request_id_of
from service.errors import AnswerTooLargeError, ServiceError, describe
from service.inference.queries import OutputQuery
from service.inference.registry import ServedModel
from service.inference.worker import Worker
from service.metrics import Metrics
from service.result_ids import new_result_id
from service.web.deadline import Deadline
from service.web.direct_route import DirectRoute
from service.web.disconnect import unless_disconnected
from service.web.parameter_route import MULTIPART
from service.web.route_parameters import RouteParameters
from service.web.uploads import FIELD, Upload, is_form, read_form, read_picture

__all__ = ["PicturePlan", "PictureRoute"]

MAX_LINES = 250_000  # in an answer to several pictures, about 20 MB
_PICTURE = {
    "type": "string",
    "format": "binary",
    "minLength": 1,
    "description": "The bytes of one picture; every media type is taken, such as image/jpeg",
}
Render = Callable[[str, Any], dict[str, Any]]


class PicturePlan(NamedTuple):
    """What a request for pictures asks for.

    Attributes:
        served: the model.
        query: what to compute from the network's output.
        render: a function of a result's id and the query's answer that returns the result's fields, without `id` and
            `name`.
        timeout_ms: milliseconds until the request's deadline; None if it sets none.

    """

    served: ServedModel
    query: OutputQuery
    render: Render
    timeout_ms: float | None


class PictureRoute(DirectRoute):
    """A route that answers pictures: its function says what to compute, and the route does the rest.

    The function takes the parameters and returns a `PicturePlan`. A form may have parameters in its fields, before or
    after the files.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.openapi_extra = (self.openapi_extra or {}) | _body_schema(self.name, self.parameters)

    @override
    async def answer(self, request: Request) -> Response:
        started = time.perf_counter_ns()
        context = context_of(request)
        in_query = self.in_query(request)
        if is_form(request):
            plan = None
            served = context.registry.get(request.path_params["model"], in_query.get("version"))
        else:
            plan = self._plan(request, in_query)
            served = plan.served
        try:
            context.worker.admission.check()
            async with Deadline(request, in_query.get("timeout_ms")) as deadline:
                if plan is None:
                    uploads, in_form = await read_form(request, context.settings, context.body_budget, self.parameters)
                    plan = self._plan(request, self.parameters.arguments(in_query, in_form))
                    served = plan.served
                    await deadline.shorten(plan.timeout_ms, (time.perf_counter_ns() - started) / 1e9)
                    as_form = True
                else:
                    uploads = [await read_picture(request, context.settings, context.body_budget)]
                    as_form = False
                answers = await _infer(request, context.worker, plan, uploads, as_form)
            _count_refused(context.metrics, served, answers)
            _raise_if_all_failed(answers)
            answered = time.perf_counter_ns()
            request_id = request_id_of(request)
            results = [_result(request_id, *pair, plan.render) for pair in zip(uploads, answers, strict=True)]
        except Exception:
            served.statistics.add_failure(time.perf_counter_ns() - started)
            raise
        body = {"model": served.name, "version": served.version, "id": request_id, "results": results}
        content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        context.body_budget.take(request.scope, len(content))
        finished = time.perf_counter_ns()
        stages = context.metrics.stages(served.name)
        stages.images.inc(sum("error" not in result for result in results))
        stages.render.observe((finished - answered) / 1e9)
        served.statistics.add_success(finished - started)
        return Response(content, media_type="application/json")

    def _plan(self, request: Request, arguments: Mapping[str, Any]) -> PicturePlan:
        plan: PicturePlan = self.endpoint(request, **request.path_params, **arguments)
        return plan


def _body_schema(name: str, parameters: RouteParameters) -> dict[str, Any]:
    """Return the OpenAPI description of a body: a form of pictures and parameters, or one picture.

    The query documents the parameters. A form that documented them again would give every method of a generated client
    two arguments for each.
    """
    files = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
    form = {
        "title": f"{name.title().replace('_', '')}Form",
        "description": "The pictures, and in fields of their own any parameters that the query does not have",
        "type": "object",
        "required": [FIELD],
        "properties": {FIELD: files},
        "propertyNames": {"enum": [FIELD, *parameters.names]},
    }
    content = {MULTIPART: {"schema": form}, "application/octet-stream": {"schema": _PICTURE}}
    return {"requestBody": {"required": True, "content": content}}


async def _infer(
    request: Request, worker: Worker, plan: PicturePlan, uploads: list[Upload], as_form: bool
) -> Sequence[Any]:
    _check_lines(len(uploads), plan.query.lines)
    with worker.admit(len(uploads)):
        return await unless_disconnected(request, _infer_all(worker, plan.served, uploads, plan.query, as_form))


def _check_lines(pictures: int, lines: int) -> None:
    if pictures > 1 and pictures * lines > MAX_LINES:
        raise AnswerTooLargeError(
            f"{pictures} pictures with {lines} lines each (one per class and alpha) are {pictures * lines} lines; an "
            f"answer holds up to {MAX_LINES}: send fewer pictures, or ask for fewer alphas or a smaller top_k"
        )


def _count_refused(metrics: Metrics, served: ServedModel, answers: Sequence[Any]) -> None:
    for answer in answers:
        if isinstance(answer, ImageError | ServiceError):
            metrics.image_errors.labels(served.name, describe(answer).code).inc()


def _raise_if_all_failed(answers: Sequence[Any]) -> None:
    if all(isinstance(answer, BaseException) for answer in answers):
        raise answers[0]


async def _infer_all(
    worker: Worker, served: ServedModel, uploads: list[Upload], query: OutputQuery, as_form: bool
) -> Sequence[Any]:
    """Return each picture's answer, or its error. Outside a form, only an error of the picture itself is returned."""
    if not as_form:
        try:
            return [await worker.infer(served, uploads[0].data, query)]
        except ImageError as error:
            return [error]
    answers = (worker.infer(served, upload.data, query) for upload in uploads)
    return await asyncio.gather(*answers, return_exceptions=True)


def _result(request_id: str, upload: Upload, answer: Any, render: Render) -> dict[str, Any]:
    result_id = new_result_id()
    if not isinstance(answer, BaseException):
        return {"id": result_id, "name": upload.name, **render(result_id, answer)}
    if not isinstance(answer, ImageError | ServiceError):
        raise answer
    error = describe(answer)
    fields = {"code": error.code, "message": error.message, "request_id": request_id}
    return {"id": result_id, "name": upload.name, "error": fields}
