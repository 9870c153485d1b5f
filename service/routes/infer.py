"""POST /v2/models/{model}/infer: inference with tensors, as the Open Inference Protocol defines it.

`service/openinference/` interprets the request; this module reads it and sends the answer. Only this route compresses
its answers, if the client asks for it.
"""

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from service.context import Context, context_of
from service.errors import RequestError
from service.inference.admission import BodyBudget
from service.inference.registry import ServedModel
from service.openinference import documentation as docs
from service.openinference.compression import accepted_encoding, compressed, decompressed
from service.openinference.inference import count_request, infer_outputs
from service.openinference.paths import find_model
from service.openinference.requests import JSON_LENGTH_HEADER, InferRequest, parse_request, raw_request
from service.openinference.responses import encode_response
from service.schemas.openinference import InferResponse
from service.schemas.parameters import ModelName
from service.settings import Settings
from service.web.bodies import read_body
from service.web.deadline import Deadline
from service.web.direct_route import DirectRoute
from service.web.disconnect import unless_disconnected

__all__ = ["router"]

router = APIRouter(tags=["open inference protocol"], route_class=DirectRoute)
MAX_LENGTH_DIGITS = 15
MAX_IN_PLACE_BYTES = 65_536  # of JSON, which takes about a millisecond to parse; more is parsed in a thread
_ERRORS = (400, 404, 413, 415, 422, 500, 501, 503, 504)
Version = Annotated[str, Path(description="A version in service.", openapi_examples={"1": {"value": "1"}})]


@router.post(
    "/v2/models/{model}/infer",
    name="infer_model",
    summary="Infer with a model",
    responses=docs.answers(InferResponse, docs.ANSWER, *_ERRORS),
    openapi_extra=docs.INFER,
    response_class=Response,
)
async def infer(request: Request, model: ModelName) -> Response:
    """Send pictures as `images` or `encoded`, with one `alpha` for all or one for each. Default: all outputs."""
    context = context_of(request)
    return await _answer(request, context, find_model(context.registry, model))


@router.post(
    "/v2/models/{model}/versions/{version}/infer",
    name="infer_model_version",
    summary="Infer with a version",
    responses=docs.answers(InferResponse, docs.ANSWER, *_ERRORS),
    openapi_extra=docs.INFER,
    response_class=Response,
)
async def infer_with_version(request: Request, model: ModelName, version: Version) -> Response:
    """Infer with the version that the path names."""
    context = context_of(request)
    return await _answer(request, context, find_model(context.registry, model, version))


async def _answer(request: Request, context: Context, served: ServedModel) -> Response:
    with count_request(served):
        context.worker.admission.check()
        async with Deadline(request):
            infer_request = await _read(request, served, context.settings, context.body_budget)
            points = context.operating_points.of(served.bundle.manifest)
            inferring = infer_outputs(served, infer_request, context.worker, points, context.settings, context.metrics)
            tensors = await unless_disconnected(request, inferring)
        answered = time.perf_counter()
        body, json_bytes = encode_response(served, infer_request, tensors)
        context.body_budget.take(request.scope, len(body))
        context.metrics.stages(served.name).render.observe(time.perf_counter() - answered)
    headers = {}
    media_type = "application/json"
    if json_bytes is not None:
        headers = {JSON_LENGTH_HEADER: str(json_bytes)}
        media_type = "application/octet-stream"
    if encoding := accepted_encoding(request.headers.get("accept-encoding", ""), len(body)):
        headers["Content-Encoding"] = encoding
        body = await compressed(body, encoding)
    return Response(body, headers=headers, media_type=media_type)


async def _read(request: Request, served: ServedModel, settings: Settings, body_budget: BodyBudget) -> InferRequest:
    """Return the parsed request, from its body and the header that says how many bytes of it are JSON."""
    header = request.headers.get(JSON_LENGTH_HEADER)
    body = await read_body(request, settings.max_body_mb, body_budget)
    if encoding := request.headers.get("content-encoding", ""):
        body = await decompressed(body, encoding, settings.max_body_mb)
        body_budget.take(request.scope, len(body))
    if header is None:
        json_bytes = len(body)
    elif header.isascii() and header.isdigit() and len(header) <= MAX_LENGTH_DIGITS and int(header) <= len(body):
        json_bytes = int(header)
        if not json_bytes:
            return raw_request(body, served.bundle.manifest)
    else:
        raise RequestError(
            f"{JSON_LENGTH_HEADER} {header[:64]!r} is not a number from 0 to {len(body)}, "
            "the length of the uncompressed body; give the length of its JSON part"
        )
    if json_bytes <= MAX_IN_PLACE_BYTES:
        return parse_request(body, json_bytes, settings.max_json_mb, served.bundle.manifest)
    return await asyncio.to_thread(parse_request, body, json_bytes, settings.max_json_mb, served.bundle.manifest)
