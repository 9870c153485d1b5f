"""POST /v1/models/{model}/classify: pictures in, predictions at every alpha asked for out."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.openapi.models import Example

from service.context import context_of
from service.parsing import parse_alphas, parse_prior, parse_top_k
from service.recognition import PICTURES_BODY, Recognised, answer_pictures
from service.rendering import predictions
from service.routes.served import Served
from service.schemas.classify import ClassifyResponse
from service.schemas.common import ErrorResponse
from service.schemas.parameters import Prior
from service.storage.results import KeptResult

__all__ = ["router"]

router = APIRouter(tags=["classify"])
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
        **{status: {"model": ErrorResponse} for status in (400, 404, 413, 415, 422, 500, 503)},
    },
    openapi_extra=PICTURES_BODY,
    response_class=Response,
)
async def classify(
    request: Request,
    served: Served,
    alpha: Annotated[list[str] | None, Query(description=_ALPHA, openapi_examples=_ALPHAS)] = None,
    top_k: Annotated[int | None, Query(description=_TOP_K, json_schema_extra={"minimum": 1})] = None,
    prior: Prior = None,
) -> Response:
    """Send one picture as the raw body, or one or more as a form's `files`: JPEG, PNG or WebP, told by their bytes.

    In a form a broken picture fails alone: its result holds an `error` instead of `predictions`. If all of them
    are broken, the request fails as the first one does.
    """
    context = context_of(request)
    alphas = parse_alphas(
        alpha or (), context.operating_points.of(served.bundle.manifest), served.name, context.settings
    )
    count = parse_top_k(top_k, served.bundle.manifest)
    shift = parse_prior(prior, served.bundle)

    def render(picture: Recognised) -> dict[str, Any]:
        answers = predictions(served, picture.logits, picture.head_cosine, alphas, count, shift)
        top, plain = answers[0]["classes"][0]["index"], int(picture.logits.argmax())
        version = served.bundle.manifest.version
        kept = KeptResult(picture.id, served.name, version, alphas[0], top, plain, picture.logits, picture.head_cosine)
        context.results.add(kept)
        return {"predictions": answers, "head_cosine": picture.head_cosine}

    return await answer_pictures(request, served, render)
