"""GET /v1/models and /v1/models/{model}: what this server can classify, and how well."""

import dataclasses

from fastapi import APIRouter, Request

from models.bundle import find_bundles
from service.context import Context, context_of
from service.registry import ServedModel
from service.rendering import operating_point
from service.routes.served import Served
from service.schemas.common import ErrorResponse
from service.schemas.models import ModelDetail, ModelList, ModelSummary

__all__ = ["router"]

router = APIRouter(tags=["models"])


@router.get("/v1/models", summary="List the models")
async def list_models(request: Request) -> ModelList:
    """Every model of this server, with its operating points."""
    context = context_of(request)
    return ModelList(
        models=[
            ModelSummary(
                name=served.name,
                version=served.bundle.manifest.version,
                versions=_versions(context, served),
                classes=len(served.bundle.manifest.classes),
                operating_points={
                    name: point.alpha for name, point in context.operating_points.of(served.bundle.manifest).items()
                },
            )
            for served in context.registry
        ]
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
    shown["operating_points"] = {name: operating_point(point) for name, point in points.items()}
    shown["class_effect"] = served.bundle.class_effect.tolist()
    return ModelDetail(**shown, versions=_versions(context, served), engine=served.engine.description)


def _versions(context: Context, served: ServedModel) -> list[int]:
    folders = find_bundles(context.settings.models)
    return [int(path.name) for path in folders if path.parent.name == served.name]
