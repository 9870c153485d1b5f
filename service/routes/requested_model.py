"""The dependency that gives a route the model that its path and its `version` parameter name."""

from typing import Annotated

from fastapi import Depends, Request

from service.context import context_of
from service.inference.registry import ServedModel
from service.schemas.parameters import ModelName, ModelVersion

__all__ = ["Served", "served_model"]


async def served_model(request: Request, model: ModelName, version: ModelVersion = None) -> ServedModel:
    """Return the model in service; the request can keep using it even if another version replaces it meanwhile.

    Raises:
        UnknownModelError: no such model is in service; the message lists the models that are.
        UnknownVersionError: the model is in service, but not in this version.

    """
    return context_of(request).registry.get(model, version)


Served = Annotated[ServedModel, Depends(served_model)]
