"""The shapes of alpha paths and accuracy curves."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from service.schemas.classify import ImageFailure
from service.schemas.common import Bounds, Group

__all__ = ["AlphaPathResponse", "Curve", "CurveOptimum", "CurveResponse", "PathOutcome", "PathResult", "PathStep"]


class PathStep(BaseModel):
    """An interval of alpha and the class with the highest probability in it."""

    model_config = ConfigDict(populate_by_name=True)

    from_: float | None = Field(alias="from", description="null: unbounded", examples=[None])
    to: float | None = Field(description="null: unbounded; at this alpha the next class ties", examples=[0.43])
    index: int = Field(examples=[0])
    name: str = Field(examples=["airplane"])
    group: Group


class PathResult(BaseModel):
    """One picture's path: ascending, without gaps, each class at most once."""

    id: str
    name: str | None = Field(description="the file's name; null if the picture is the whole body")
    path: list[PathStep]


PathOutcome = TypeAliasType("PathOutcome", PathResult | ImageFailure)


class AlphaPathResponse(BaseModel):
    """The answer to an alpha-path request."""

    model: str = Field(examples=["cifar10-lt"])
    version: int = Field(examples=[1])
    id: str = Field(description="the request's id")
    results: list[PathOutcome] = Field(description="one per picture, in the order of the request")


class Curve(BaseModel):
    """Accuracy at several alphas, read from exact step functions."""

    alphas: list[float] = Field(examples=[[0.0, 0.5, 1.0]])
    figures: dict[str, list[float]] = Field(
        description="each accuracy figure, 0 to 1, one value per alpha; a group without labels is absent",
        examples=[{"overall": [0.72, 0.79, 0.81], "many": [0.79, 0.81, 0.8]}],
    )


class CurveOptimum(BaseModel):
    """The alpha with the highest balanced accuracy."""

    alpha: float = Field(examples=[1.2])
    interval: Bounds = Field(description="the interval of alpha with the same accuracy", examples=[[1.1, 1.3]])
    value: float = Field(description="balanced accuracy at this alpha, 0 to 1", examples=[0.83])


class CurveResponse(Curve):
    """A model's accuracy against alpha."""

    source: Literal["bundle", "feedback"]
    images: int = Field(description="number of labelled pictures", examples=[10000])
    data: str | None = Field(description="where the pictures come from", examples=["cifar10-lt.zip, test split"])
    optimum: CurveOptimum | None = Field(description="null for a bundle's curve")
