"""GET /v1/models and /v1/models/{model}: what this server can classify, and how well."""

import dataclasses

from fastapi import APIRouter, Request

from service.context import context_of
from service.routes.requested_model import Served
from service.schemas.common import ErrorResponse
from service.schemas.models import ModelDetail, ModelList, ModelSummary, RefusedVersion
from service.web.json_response import iso_time, operating_point_fields

__all__ = ["router"]

router = APIRouter(tags=["models"])


@router.get("/v1/models", summary="List the models")
async def list_models(request: Request) -> ModelList:
    """Every model in service, with its operating points; and what lies in the models folder but is refused, and why."""
    context = context_of(request)
    return ModelList(
        models=[
            ModelSummary(
                name=served.name,
                version=served.version,
                versions=context.catalog.versions_in_folder(served.name),
                served_versions=[each.version for each in context.registry.versions_of(served.name)],
                classes=len(served.bundle.manifest.classes),
                operating_points={
                    name: point.alpha for name, point in context.operating_points.of(served.bundle.manifest).items()
                },
            )
            for served in context.registry
        ],
        refused=[
            RefusedVersion(name=each.name, version=each.version, reason=each.reason, since=iso_time(each.since))
            for each in context.catalog.refused()
        ],
    )


@router.get(
    "/v1/models/{model}",
    summary="Describe a model",
    responses={404: {"model": ErrorResponse}, 422: {"model": ErrorResponse}},
)
async def describe_model(request: Request, served: Served) -> ModelDetail:
    """Classes and groups, operating points in force and how they were chosen, accuracy, provenance."""
    context = context_of(request)
    manifest = dataclasses.asdict(served.bundle.manifest)
    shown = {name: value for name, value in manifest.items() if name not in {"format_version", "sha256"}}
    points = context.operating_points.of(served.bundle.manifest)
    shown["operating_points"] = {name: operating_point_fields(point) for name, point in points.items()}
    shown["class_effect"] = served.bundle.class_effect.tolist()
    return ModelDetail(
        **shown,
        versions=context.catalog.versions_in_folder(served.name),
        served_versions=[each.version for each in context.registry.versions_of(served.name)],
        engine=served.engine.description,
        max_batch_images=served.batch_policy.max_images,
    )
