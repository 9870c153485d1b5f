"""What happens along alpha: paths and curves."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.schemas.classify import ImageFailure
from service.schemas.common import Group

__all__ = ["AlphaPathResponse", "Curve", "CurveResponse", "PathResult", "PathStep"]


class PathStep(BaseModel):
    """One stretch of alpha and the class that wins on it."""

    model_config = ConfigDict(populate_by_name=True)

    from_: float | None = Field(alias="from", description="null: unbounded", examples=[None])
    to: float | None = Field(description="null: unbounded; there the next class ties", examples=[0.43])
    index: int = Field(examples=[0])
    name: str = Field(examples=["airplane"])
    group: Group


class PathResult(BaseModel):
    """One picture's path: ascending, without gaps, each class at most once."""

    id: str
    name: str | None = Field(description="the file's name, null for a raw body")
    path: list[PathStep]


class AlphaPathResponse(BaseModel):
    """The answer to an alpha-path request."""

    model: str = Field(examples=["cifar10-lt"])
    version: int = Field(examples=[1])
    id: str = Field(description="the request's id")
    results: list[PathResult | ImageFailure] = Field(description="one per picture, in the order sent")


class Curve(BaseModel):
    """Exact step functions, read at some alphas."""

    alphas: list[float] = Field(examples=[[0.0, 0.5, 1.0]])
    figures: dict[str, list[float]] = Field(
        description="fractions of 1, one per alpha; a group without labels is absent",
        examples=[{"overall": [0.72, 0.79, 0.81], "many": [0.79, 0.81, 0.8]}],
    )


class CurveResponse(Curve):
    """A model's accuracy against alpha."""

    source: Literal["bundle", "feedback"]
    images: int = Field(description="labelled pictures it is made of", examples=[10000])
    data: str | None = Field(description="where they are from", examples=["cifar10-lt.zip, test split"])
    optimum: dict[str, Any] | None = Field(
        description="best balanced accuracy: `alpha`, its whole `interval`, the `value` there; null for the bundle's"
    )
