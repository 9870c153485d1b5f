"""POST /v1/models/{model}/classify: pictures in, predictions at every alpha asked for out."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.openapi.models import Example

from service.context import context_of
from service.feedback.kept_results import KeptResult
from service.inference.predictions import PicturePredictions, PredictionParameters, is_heavy, predict
from service.inference.queries import OutputQuery
from service.schemas.classify import ClassifyResponse
from service.schemas.common import ErrorResponse
from service.schemas.parameters import ModelName, ModelVersion, Prior, TimeoutMs
from service.web.direct_route import DirectRoute
from service.web.picture_requests import PICTURES_BODY, answer_pictures
from service.web.query_parameters import parse_alphas, parse_prior, parse_top_k

__all__ = ["router"]

router = APIRouter(tags=["classify"], route_class=DirectRoute)
_ALPHA = """A number (0 is the plain classifier; larger takes out more of the preference for frequent classes) or an
operating point's name. Repeat it for several answers: one forward pass serves them all. Default: `balanced`."""
_TOP_K = "How many classes to return, at most all. Default: 5, or all where there are fewer."
_ALPHAS: dict[str, Example] = {
    "plain and balanced": {"value": ["0", "balanced"]},
    "numbers": {"value": ["0", "0.5", "1", "1.5"]},
    "a point": {"value": ["tail"]},
}


@router.post(
    "/v1/models/{model}/classify",
    summary="Classify pictures at one or more alpha",
    responses={
        200: {"model": ClassifyResponse},
        **{status: {"model": ErrorResponse} for status in (400, 404, 413, 415, 422, 500, 503, 504)},
    },
    openapi_extra=PICTURES_BODY,
    response_class=Response,
)
async def classify(
    request: Request,
    model: ModelName,
    version: ModelVersion = None,
    alpha: Annotated[list[str] | None, Query(description=_ALPHA, openapi_examples=_ALPHAS)] = None,
    top_k: Annotated[int | None, Query(description=_TOP_K, json_schema_extra={"minimum": 1})] = None,
    prior: Prior = None,
    timeout_ms: TimeoutMs = None,
) -> Response:
    """Send one picture as the raw body, or one or more as a form's `files`: JPEG, PNG or WebP, told by their bytes.

    In a form a broken picture fails alone: its result holds an `error` instead of `predictions`. If all of them
    are broken, the request fails as the first one does.
    """
    context = context_of(request)
    served = context.registry.get(model, version)
    manifest = served.bundle.manifest
    alphas = parse_alphas(alpha or (), context.operating_points.of(manifest), served.name, context.settings)
    parameters = PredictionParameters(alphas, parse_top_k(top_k, manifest), parse_prior(prior, served.bundle))

    def render(result_id: str, picture: PicturePredictions) -> dict[str, Any]:
        kept = KeptResult(
            result_id,
            manifest.name,
            manifest.version,
            alphas[0],
            picture.top,
            picture.plain,
            picture.logits.copy(),
            picture.head_cosine.copy(),
        )
        if context.registry.serves(served):  # else what is kept may be another network's of that version by now
            context.results.add(kept)
        return {"predictions": picture.predictions, "head_cosine": picture.head_cosine}

    query = OutputQuery(predict, parameters, heavy=is_heavy(served, parameters), lines=len(alphas) * parameters.top_k)
    return await answer_pictures(request, served, query, render, timeout_ms)
