"""Answers requests that carry pictures: read them, admit them, run the network, and render the results.

If a picture in a form is broken, its result holds an `error`. If all of them are broken, the request fails with the
first one's error.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import orjson
from fastapi import Request, Response

from models.errors import ImageError
from service.errors import AnswerTooLargeError, ServiceError, describe
from service.inference.admission import BodyBudget
from service.inference.queries import OutputQuery
from service.inference.registry import ServedModel
from service.inference.worker import Worker
from service.metrics import Metrics
from service.result_ids import new_result_id
from service.settings import Settings
from service.web.deadline import Deadline
from service.web.disconnect import unless_disconnected
from service.web.uploads import FIELD, IMAGE_TYPES, MULTIPART, Upload, read_uploads

__all__ = ["PICTURES_BODY", "PictureServices", "answer_pictures"]

MAX_LINES = 250_000  # in an answer to several pictures, about 20 MB
_PICTURE = {"schema": {"type": "string", "format": "binary", "minLength": 1}}
_FORM = {
    "schema": {
        "title": "PicturesForm",
        "type": "object",
        "required": [FIELD],
        "properties": {FIELD: {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}},
    }
}
PICTURES_BODY = {
    "requestBody": {"required": True, "content": {MULTIPART: _FORM, **dict.fromkeys(IMAGE_TYPES, _PICTURE)}}
}
Render = Callable[[str, Any], dict[str, Any]]


class PictureServices(Protocol):
    """The parts of the service that answer pictures; a `Context` has them."""

    @property
    def settings(self) -> Settings:
        """The limits on bodies and files."""

    @property
    def worker(self) -> Worker:
        """Admits pictures and runs the network."""

    @property
    def body_budget(self) -> BodyBudget:
        """Counts bodies and answers as memory."""

    @property
    def metrics(self) -> Metrics:
        """Counts pictures and their errors."""


async def answer_pictures(
    request: Request,
    request_id: str,
    services: PictureServices,
    served: ServedModel,
    query: OutputQuery,
    render: Render,
    timeout_ms: float | None = None,
) -> Response:
    """Answer a request that carries pictures.

    Args:
        request: a request with one picture as its body, or a form with one or more.
        request_id: the request's id.
        services: what answers it.
        served: the model.
        query: what to compute from the network's output.
        render: a function of a result's id and the query's answer that returns the result's fields, without `id` and
            `name`.
        timeout_ms: milliseconds until the request's deadline.

    """
    started = time.perf_counter_ns()
    worker = services.worker
    try:
        worker.admission.check()
        async with Deadline(request, timeout_ms):
            uploads, as_form = await read_uploads(request, services.settings, services.body_budget)
            _check_lines(len(uploads), query.lines)
            with worker.admit(len(uploads)):
                answers = await unless_disconnected(request, _infer_all(worker, served, uploads, query, as_form))
        _count_refused(services.metrics, served, answers)
        _raise_if_all_failed(answers)
        answered = time.perf_counter_ns()
        results = [_result(request_id, *pair, render) for pair in zip(uploads, answers, strict=True)]
    except Exception:
        served.statistics.add_failure(time.perf_counter_ns() - started)
        raise
    body = {"model": served.name, "version": served.version, "id": request_id, "results": results}
    content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    services.body_budget.take(request.scope, len(content))
    finished = time.perf_counter_ns()
    stages = services.metrics.stages(served.name)
    stages.images.inc(sum("error" not in result for result in results))
    stages.render.observe((finished - answered) / 1e9)
    served.statistics.add_success(finished - started)
    return Response(content, media_type="application/json")


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
