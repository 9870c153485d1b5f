"""From a request's pictures to its answer: read them, admit them, ask the worker, render.

In a form a broken picture fails alone: its result holds an `error`. If all of them are broken, the request fails as the
first one does.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import orjson
from fastapi import Request, Response

from models.errors import ImageError
from service.context import Context, context_of, request_id_of
from service.errors import AnswerTooLargeError, ClientDisconnectedError, ServiceError, describe
from service.inference.queries import OutputQuery
from service.inference.registry import ServedModel
from service.result_ids import new_result_id
from service.web.deadline import Deadline
from service.web.disconnect import DISCONNECT, ClientDisconnect
from service.web.uploads import FIELD, IMAGE_TYPES, MULTIPART, Upload, read_uploads

__all__ = ["PICTURES_BODY", "answer_pictures", "unless_disconnected"]

T = TypeVar("T")
MAX_LINES = 250_000  # of an answer to several pictures; some 20 MB
_PICTURE = {"schema": {"type": "string", "format": "binary", "minLength": 1}}
_FORM = {
    "schema": {
        "type": "object",
        "required": [FIELD],
        "properties": {FIELD: {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}},
    }
}
PICTURES_BODY = {
    "requestBody": {"required": True, "content": {MULTIPART: _FORM, **dict.fromkeys(IMAGE_TYPES, _PICTURE)}}
}
Render = Callable[[str, Any], dict[str, Any]]


async def answer_pictures(
    request: Request, served: ServedModel, query: OutputQuery, render: Render, timeout_ms: float | None = None
) -> Response:
    """Answer a request that carries pictures.

    Args:
        request: one raw picture, or a form with one or more.
        served: the model.
        query: what is wanted of the network's numbers.
        render: a result's id, what came of asking -> what the result says, beside `id` and `name`.
        timeout_ms: milliseconds that it may take.

    """
    context = context_of(request)
    started = time.perf_counter_ns()
    try:
        context.worker.admission.check()
        async with Deadline(request, timeout_ms):
            uploads, as_form = await read_uploads(request, context.settings)
            _check_lines(len(uploads), query.lines)
            with context.worker.admit(len(uploads)):
                answers = await unless_disconnected(request, _ask_all(context, served, uploads, query, as_form))
        _count_refused(context, served, answers)
        _raise_if_all_failed(answers)
        answered = time.perf_counter_ns()
        results = [_result(request, *pair, render) for pair in zip(uploads, answers, strict=True)]
    except Exception:
        served.statistics.add_failure(time.perf_counter_ns() - started)
        raise
    body = {"model": served.name, "version": served.version, "id": request_id_of(request), "results": results}
    content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    context.body_budget.take(request.scope, len(content))
    finished = time.perf_counter_ns()
    stages = context.metrics.stages(served.name)
    stages.images.inc(sum("error" not in result for result in results))
    stages.render.observe((finished - answered) / 1e9)
    served.statistics.add_success(finished - started)
    return Response(content, media_type="application/json")


def _check_lines(pictures: int, lines: int) -> None:
    if pictures > 1 and pictures * lines > MAX_LINES:
        raise AnswerTooLargeError(
            f"{pictures} pictures with {lines} lines each, a class at an alpha, are {pictures * lines}; at most "
            f"{MAX_LINES} fit into one answer: send fewer pictures, ask for fewer alphas, or for a smaller top_k"
        )


def _count_refused(context: Context, served: ServedModel, answers: Sequence[Any]) -> None:
    for answer in answers:
        if isinstance(answer, ImageError | ServiceError):
            context.metrics.image_errors.labels(served.name, describe(answer).code).inc()


def _raise_if_all_failed(answers: Sequence[Any]) -> None:
    if all(isinstance(answer, BaseException) for answer in answers):
        raise answers[0]


async def _ask_all(
    context: Context, served: ServedModel, uploads: list[Upload], query: OutputQuery, as_form: bool
) -> Sequence[Any]:
    """Return each picture's answer; of a form's, what is wrong with it in its place."""
    if not as_form:
        try:
            return [await context.worker.infer(served, uploads[0].data, query)]
        except ImageError as error:
            return [error]
    asking = (context.worker.infer(served, upload.data, query) for upload in uploads)
    return await asyncio.gather(*asking, return_exceptions=True)


def _result(request: Request, upload: Upload, answer: Any, render: Render) -> dict[str, Any]:
    result_id = new_result_id()
    if not isinstance(answer, BaseException):
        return {"id": result_id, "name": upload.name, **render(result_id, answer)}
    if not isinstance(answer, ImageError | ServiceError):
        raise answer
    told = describe(answer)
    failure = {"code": told.code, "message": told.message, "request_id": request_id_of(request)}
    return {"id": result_id, "name": upload.name, "error": failure}


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Wait for the work, or cancel it when the client hangs up: nobody should compute for a caller who has left.

    Raises:
        ClientDisconnectedError: the client hung up.

    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  a coroutine that runs is in one
    disconnect: ClientDisconnect | None = request.scope.get(DISCONNECT)
    watching = None
    if disconnect is None:  # a server that does not tell by itself
        disconnect = ClientDisconnect()
        watching = asyncio.ensure_future(_wait_for_hang_up(request, disconnect))
    if disconnect.happened:
        work.close()
        raise ClientDisconnectedError("the client hung up")
    disconnect.task = task
    try:
        return await work
    except asyncio.CancelledError:
        if disconnect.happened and not task.uncancel():  # as asyncio.timeout tells its own doing from other people's
            raise ClientDisconnectedError("the client hung up") from None
        raise
    finally:
        disconnect.task = None
        if watching is not None:
            watching.cancel()


async def _wait_for_hang_up(request: Request, disconnect: ClientDisconnect) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    disconnect.notify()
