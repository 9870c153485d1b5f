"""Which model a request is about: the name in its path, and the version it asks for, where it does."""

from typing import Annotated

from fastapi import Depends, Request

from service.context import context_of
from service.inference.registry import ServedModel
from service.schemas.parameters import ModelName, ModelVersion

__all__ = ["Served", "served_model"]


async def served_model(request: Request, model: ModelName, version: ModelVersion = None) -> ServedModel:
    """Return the model in service. Whoever holds it may finish with it, whatever takes its place meanwhile.

    Raises:
        UnknownModelError, UnknownVersionError: there is none; the sentence lists those there are.

    """
    return context_of(request).registry.get(model, version)


Served = Annotated[ServedModel, Depends(served_model)]
