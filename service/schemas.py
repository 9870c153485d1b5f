"""The shapes of requests and answers as the documentation page shows them, with examples from a real model."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "ClassInfo", "ClassPrediction", "ClassifyResponse", "ErrorBody", "ErrorResponse", "Health", "ImageFailure",
    "ImageResult", "ModelDetail", "ModelList", "ModelSummary", "OperatingPoint", "Prediction",
]  # fmt: skip

Group = Literal["many", "medium", "few"]


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str = Field(description="stable, for programs", examples=["alpha_out_of_range"])
    message: str = Field(description="for people: what is wrong and what would work")
    request_id: str = Field(description="also in the header X-Request-ID and in the server's log")


class ErrorResponse(BaseModel):
    """The one shape of every error."""

    error: ErrorBody


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


class ModelSummary(BaseModel):
    """A model in the list."""

    name: str = Field(examples=["cifar10-lt"])
    version: int = Field(description="the version that is served: the highest", examples=[1])
    versions: list[int] = Field(description="all versions in the models folder")
    classes: int = Field(description="number of classes", examples=[10])
    operating_points: dict[str, float] = Field(description="name -> alpha", examples=[{"head": 0.0, "balanced": 1.1}])


class ModelList(BaseModel):
    """All models of this server."""

    models: list[ModelSummary]


class ClassInfo(BaseModel):
    """A class and how often it was seen in training."""

    name: str
    training_count: int
    group: Group


class OperatingPoint(BaseModel):
    """A named alpha."""

    alpha: float = Field(examples=[0.99])
    chosen_by: str = Field(description="how it was chosen")
    source: Literal["bundle", "stored"] = Field(description="the model's own, or set since")
    since: str | None = Field(description="when it was set; null for the model's own", examples=[None])


class ModelDetail(BaseModel):
    """Everything a caller may want to know of a model; see models/README.md for the fields."""

    model_config = ConfigDict(extra="forbid")

    name: str
    version: int
    versions: list[int]
    task: str
    engine: str = Field(description="what computes it, and where")
    classes: list[ClassInfo]
    input: dict[str, Any] = Field(description="how a picture is prepared: size, resize, mean, std")
    num_heads: int
    tau: float
    gamma: float
    exempt_class: int | None
    operating_points: dict[str, OperatingPoint] = Field(description="what the names mean now")
    class_effect: list[list[float]] = Field(
        description="(K, C): what alpha takes out of each class's logit, times the picture's head cosine; sum over K"
    )
    metrics: dict[str, Any] = Field(description="accuracy, with the protocol that produced it")
    provenance: dict[str, Any] = Field(description="how it was trained")


class Health(BaseModel):
    """A probe's answer."""

    status: Literal["ok", "ready"]
