"""From a request's pictures to the network's numbers: read, admit, decode, infer. What is made of them is the route's.

In a form a broken picture fails alone: its result holds an `error`. If all of them are broken, the request fails as the
first one does.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from fastapi import Request, Response

from models.errors import ImageError
from models.preprocess import decode_image
from service.context import Context, context_of, request_id_of
from service.engines.base import Float
from service.errors import ClientGoneError, ServiceError, translate
from service.registry import ServedModel
from service.result_ids import new_result_id
from service.uploads import FIELD, IMAGE_TYPES, MULTIPART, Upload, read_uploads

__all__ = ["PICTURES_BODY", "Recognised", "answer_pictures"]

T = TypeVar("T")
_PICTURE = {"schema": {"type": "string", "format": "binary"}}
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


@dataclass(frozen=True, slots=True, eq=False)
class Recognised:
    """What the network says about one picture: its result's id, (C,) logits at alpha 0, (K,) head cosine."""

    id: str
    logits: Float
    head_cosine: Float


Render = Callable[[Recognised], dict[str, Any]]


async def answer_pictures(request: Request, served: ServedModel, render: Render) -> Response:
    """Answer a request that carries pictures.

    Args:
        request: one raw picture, or a form with one or more.
        served: the model.
        render: what a result says, beside `id` and `name`.
    """
    context = context_of(request)
    uploads, as_form = await read_uploads(request, context.settings)
    with context.worker.admit(len(uploads)):
        recognising = (_answer_one(context, served, upload, render) for upload in uploads)
        answers = await _unless_hung_up(request, asyncio.gather(*recognising, return_exceptions=as_form))
    results = [_rendered(context, served, request, *pair) for pair in zip(uploads, answers, strict=True)]
    if all("error" in result for result in results):
        raise next(answer for answer in answers if isinstance(answer, Exception))
    body = {
        "model": served.name,
        "version": served.bundle.manifest.version,
        "id": request_id_of(request),
        "results": results,
    }
    return Response(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


async def _answer_one(context: Context, served: ServedModel, upload: Upload, render: Render) -> dict[str, Any]:
    """Decode in a thread, compute in the next batch, render."""
    manifest, started = served.bundle.manifest, time.perf_counter()
    pixels = await asyncio.get_running_loop().run_in_executor(
        context.decoders, lambda: decode_image(upload.data, manifest.input, max_pixels=context.settings.max_pixels)
    )
    context.metrics.stage_seconds.labels(served.name, "decode").observe(time.perf_counter() - started)
    logits, head_cosine = await context.worker.infer(served.name, pixels)
    context.metrics.images.labels(served.name).inc()
    recognised = Recognised(new_result_id(), logits, head_cosine)
    return {"id": recognised.id, "name": upload.name, **render(recognised)}


def _rendered(
    context: Context, served: ServedModel, request: Request, upload: Upload, answer: dict[str, Any] | BaseException
) -> dict[str, Any]:
    if not isinstance(answer, BaseException):
        return answer
    if not isinstance(answer, ImageError | ServiceError):
        raise answer
    _, code, message = translate(answer)
    context.metrics.image_errors.labels(served.name, code).inc()
    failure = {"code": code, "message": message, "request_id": request_id_of(request)}
    return {"id": new_result_id(), "name": upload.name, "error": failure}


async def _unless_hung_up(request: Request, work: Awaitable[T]) -> T:
    """Wait for the work, or cancel it when the client hangs up: nobody should compute for a caller who has left."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_hang_up(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError("the client hung up")
        return working.result()
    finally:
        unfinished = [task for task in (working, leaving) if not task.done() and task.cancel()]
        await asyncio.gather(*unfinished, return_exceptions=True)


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
