"""GET /v1/models and /v1/models/{model}: the models in service and what is known about each."""

import dataclasses

from fastapi import APIRouter, Request, Response

from service.context import context_of
from service.schemas.common import ErrorResponse
from service.schemas.models import ModelDetail, ModelList, ModelSummary, RefusedVersion
from service.schemas.parameters import ModelName, ModelVersion
from service.web.json_response import iso_time, json_response, operating_point_fields
from service.web.parameter_route import ParameterRoute

__all__ = ["router"]

router = APIRouter(tags=["models"], route_class=ParameterRoute)


@router.get(
    "/v1/models",
    summary="List the models",
    responses={200: {"model": ModelList}, 422: {"model": ErrorResponse}},
    response_class=Response,
)
async def list_models(request: Request) -> Response:
    """List every model in service with its operating points, and every version in the models folder that is refused."""
    context = context_of(request)
    answer = ModelList(
        models=[
            ModelSummary(
                name=served.name,
                version=served.version,
                versions=context.catalog.versions_in_folder(served.name),
                served_versions=[version.version for version in context.registry.versions_of(served.name)],
                classes=len(served.bundle.manifest.classes),
                operating_points={
                    name: point.alpha for name, point in context.operating_points.of(served.bundle.manifest).items()
                },
            )
            for served in context.registry
        ],
        refused=[
            RefusedVersion(name=entry.name, version=entry.version, reason=entry.reason, since=iso_time(entry.since))
            for entry in context.catalog.refused()
        ],
    )
    return json_response(answer.model_dump())


@router.get(
    "/v1/models/{model}",
    summary="Describe a model",
    responses={200: {"model": ModelDetail}, 404: {"model": ErrorResponse}, 422: {"model": ErrorResponse}},
    response_class=Response,
)
async def describe_model(request: Request, model: ModelName, version: ModelVersion = None) -> Response:
    """Get a model's classes and groups, operating points and how they were chosen, accuracy, and provenance."""
    context = context_of(request)
    served = context.registry.get(model, version)
    manifest = dataclasses.asdict(served.bundle.manifest)
    fields = {name: value for name, value in manifest.items() if name not in {"format_version", "sha256"}}
    points = context.operating_points.of(served.bundle.manifest)
    fields["operating_points"] = {name: operating_point_fields(point) for name, point in points.items()}
    fields["class_effect"] = served.bundle.class_effect.tolist()
    answer = ModelDetail(
        **fields,
        versions=context.catalog.versions_in_folder(served.name),
        served_versions=[version.version for version in context.registry.versions_of(served.name)],
        engine=served.engine.description,
        max_batch_images=served.batch_policy.max_images,
        max_alpha=context.settings.max_alpha,
    )
    return json_response(answer.model_dump())
