"""POST /v1/models/{model}/classify: pictures in, predictions at every alpha asked for out."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Query, Request, Response

from models.errors import ImageError
from models.preprocess import decode_image
from service.context import Context, context_of, request_id_of
from service.errors import ClientGoneError, ServiceError, translate
from service.parsing import parse_alphas, parse_top_k
from service.registry import ServedModel
from service.rendering import predictions
from service.result_ids import new_result_id
from service.schemas import ClassifyResponse, ErrorResponse
from service.uploads import FIELD, IMAGE_TYPES, MULTIPART, Upload, read_uploads

__all__ = ["router"]

router = APIRouter(tags=["classify"])
T = TypeVar("T")
_ALPHA = """A number (0 is the plain classifier; larger takes out more of the preference for frequent classes) or an
operating point's name. Repeat it for several answers: one forward pass serves them all. Default: `balanced`."""
_TOP_K = "How many classes to return, at most all. Default: 5, or all where there are fewer."
_PICTURE = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": [FIELD],
        "properties": {FIELD: {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}},
    }
}
_BODY = {"requestBody": {"required": True, "content": {MULTIPART: _FORM, **dict.fromkeys(IMAGE_TYPES, _PICTURE)}}}


@router.post(
    "/v1/models/{model}/classify",
    summary="Classify pictures at one or more alpha",
    responses={
        200: {"model": ClassifyResponse},
        **{status: {"model": ErrorResponse} for status in (400, 404, 413, 415, 422, 500, 503)},
    },
    openapi_extra=_BODY,
    response_class=Response,
)
async def classify(
    request: Request,
    model: str,
    alpha: Annotated[list[str] | None, Query(description=_ALPHA, examples=[["0"], ["0", "1.5"], ["tail"]])] = None,
    top_k: Annotated[int | None, Query(description=_TOP_K, json_schema_extra={"minimum": 1})] = None,
) -> Response:
    """Send one picture as the raw body, or one or more as a form's `files`: JPEG, PNG or WebP, told by their bytes.

    In a form a broken picture fails alone: its result holds an `error` instead of `predictions`. If all of them
    are broken, the request fails as the first one does.
    """
    context = context_of(request)
    served = context.registry.get(model)
    alphas = parse_alphas(alpha or (), served.bundle.manifest, context.settings)
    count = parse_top_k(top_k, served.bundle.manifest)
    uploads, as_form = await read_uploads(request, context.settings)
    with context.worker.admit(len(uploads)):
        answers = await _unless_hung_up(
            request,
            asyncio.gather(
                *(_classify_one(context, served, upload, alphas, count) for upload in uploads),
                return_exceptions=as_form,
            ),
        )
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


async def _classify_one(
    context: Context, served: ServedModel, upload: Upload, alphas: list[float], top_k: int
) -> dict[str, Any]:
    """Decode in a thread, compute in the next batch, apply alpha."""
    manifest, started = served.bundle.manifest, time.perf_counter()
    pixels = await asyncio.get_running_loop().run_in_executor(
        context.decoders, lambda: decode_image(upload.data, manifest.input, max_pixels=context.settings.max_pixels)
    )
    context.metrics.stage_seconds.labels(served.name, "decode").observe(time.perf_counter() - started)
    logits, head_cosine = await context.worker.infer(served.name, pixels)
    context.metrics.images.labels(served.name).inc()
    return {
        "id": new_result_id(),
        "name": upload.name,
        "predictions": predictions(served, logits, head_cosine, alphas, top_k),
        "head_cosine": head_cosine,
    }


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
