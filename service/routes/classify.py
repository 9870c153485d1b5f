"""POST /v1/models/{model}/classify: classify pictures at one or more values of alpha."""

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
from service.web.picture_requests import PicturePlan, PictureRoute
from service.web.query_parameters import parse_alphas, parse_prior, parse_top_k

__all__ = ["router"]

router = APIRouter(tags=["classify"], route_class=PictureRoute)
_ALPHA = """A number or the name of an operating point. 0 is the plain classifier; larger values remove more of the
preference for frequent classes. Repeat the parameter for several predictions; the network runs once for all of them.
Default: `balanced`."""
_TOP_K = "How many classes to return, up to the number of classes. Default: 5, or all classes if there are fewer."
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
    response_class=Response,
    response_model=None,
)
def classify(
    request: Request,
    model: ModelName,
    version: ModelVersion = None,
    alpha: Annotated[list[str] | None, Query(description=_ALPHA, openapi_examples=_ALPHAS)] = None,
    top_k: Annotated[int | None, Query(description=_TOP_K, json_schema_extra={"minimum": 1})] = None,
    prior: Prior = None,
    timeout_ms: TimeoutMs = None,
) -> PicturePlan:
    """Send one picture as the body, or one or more in a form's `files` field: JPEG, PNG or WebP.

    The format is recognized by the picture's bytes. If a picture in a form is broken, its result has an `error` instead
    of `predictions`. If all of them are broken, the request fails with the first one's error. A form may have the
    parameters in fields of their own.
    """
    context = context_of(request)
    served = context.registry.get(model, version)
    manifest = served.bundle.manifest
    alphas = parse_alphas(alpha or (), context.operating_points.of(manifest), served.name, context.settings)
    parameters = PredictionParameters(alphas, parse_top_k(top_k, manifest), parse_prior(prior, served.bundle))

    def render(result_id: str, predicted: PicturePredictions) -> dict[str, Any]:
        kept = KeptResult(
            result_id,
            manifest.name,
            manifest.version,
            alphas[0],
            predicted.top,
            predicted.plain,
            predicted.logits.copy(),
            predicted.head_cosine.copy(),
        )
        if context.registry.serves(served):  # otherwise the kept results may belong to a new network of this version
            context.results.add(kept)
        return {"predictions": predicted.predictions, "head_cosine": predicted.head_cosine}

    query = OutputQuery(predict, parameters, heavy=is_heavy(served, parameters), lines=len(alphas) * parameters.top_k)
    return PicturePlan(served, query, render, timeout_ms)
