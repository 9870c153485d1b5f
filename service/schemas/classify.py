"""The shapes of the answer to classify."""

from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType

from service.schemas.common import ErrorBody, Group

__all__ = ["ClassPrediction", "ClassifyResponse", "ImageFailure", "ImageOutcome", "ImageResult", "Prediction"]


class ClassPrediction(BaseModel):
    """One class at one alpha."""

    index: int = Field(examples=[3])
    name: str = Field(examples=["cat"])
    probability: float = Field(examples=[0.71])
    logit: float = Field(description="the TDE logit, before softmax", examples=[9.3])
    group: Group = Field(description="many: more than 100 training images, medium: 20 to 100, few: fewer than 20")


class Prediction(BaseModel):
    """The most probable classes at one alpha."""

    alpha: float = Field(description="the alpha used; for an operating point, its number", examples=[1.0])
    classes: list[ClassPrediction]


class ImageResult(BaseModel):
    """One picture's answer."""

    id: str = Field(description="the result's id, for POST /v1/feedback", examples=["01a20dac039c7aa3912d77855a3cfdb1"])
    name: str | None = Field(
        description="the file's name; null if the picture is the whole body", examples=["cat.webp"]
    )
    predictions: list[Prediction] = Field(description="one per alpha, in the order of the request")
    head_cosine: list[float] = Field(
        description="for each head, how far the picture leans towards the direction of the frequent classes, -1 to 1",
        examples=[[0.62, 0.58]],
    )


class ImageFailure(BaseModel):
    """A picture of a form that could not be classified, although others were."""

    id: str
    name: str | None
    error: ErrorBody


ImageOutcome = TypeAliasType("ImageOutcome", ImageResult | ImageFailure)  # the alias is its name in the document


class ClassifyResponse(BaseModel):
    """The answer to a classify request."""

    model: str = Field(examples=["cifar10-lt"])
    version: int = Field(examples=[1])
    id: str = Field(description="the request's id")
    results: list[ImageOutcome] = Field(description="one per picture, in the order of the request")
