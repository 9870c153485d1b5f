"""What classify answers."""

from pydantic import BaseModel, Field

from service.schemas.common import ErrorBody, Group

__all__ = ["ClassPrediction", "ClassifyResponse", "ImageFailure", "ImageResult", "Prediction"]


class ClassPrediction(BaseModel):
    """One class at one alpha."""

    index: int = Field(examples=[3])
    name: str = Field(examples=["cat"])
    probability: float = Field(examples=[0.71])
    logit: float = Field(description="the TDE logit, before softmax", examples=[9.3])
    group: Group = Field(description="many: over 100 training images, medium: 20 to 100, few: under 20")


class Prediction(BaseModel):
    """The most probable classes at one alpha."""

    alpha: float = Field(
        description="the number used; an operating point's name comes back as its number", examples=[1.0]
    )
    classes: list[ClassPrediction]


class ImageResult(BaseModel):
    """One picture's answer."""

    id: str = Field(
        description="the result's own, for POST /v1/feedback", examples=["01a20dac039c7aa3912d77855a3cfdb1"]
    )
    name: str | None = Field(description="the file's name; null for a raw body", examples=["cat.webp"])
    predictions: list[Prediction] = Field(description="one per alpha, in the order asked")
    head_cosine: list[float] = Field(
        description="how far the picture leans to the frequent classes' direction, per head, -1 to 1",
        examples=[[0.62, 0.58]],
    )


class ImageFailure(BaseModel):
    """One picture of a form that could not be classified; its neighbours were."""

    id: str
    name: str | None
    error: ErrorBody


class ClassifyResponse(BaseModel):
    """The answer to a classify request."""

    model: str = Field(examples=["cifar10-lt"])
    version: int = Field(examples=[1])
    id: str = Field(description="the request's id")
    results: list[ImageResult | ImageFailure] = Field(description="one per picture, in the order sent")
