"""What a server and its models say of themselves."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.schemas.common import Group

__all__ = ["ClassInfo", "Health", "ModelDetail", "ModelList", "ModelSummary", "OperatingPoint", "RefusedVersion"]


class ModelSummary(BaseModel):
    """A model in the list."""

    name: str = Field(examples=["cifar10-lt"])
    version: int = Field(
        description="the version that answers where none is asked for: the highest good one", examples=[1]
    )
    versions: list[int] = Field(description="all versions in the models folder")
    served_versions: list[int] = Field(description="those in service, which `version` may ask for")
    classes: int = Field(description="number of classes", examples=[10])
    operating_points: dict[str, float] = Field(description="name -> alpha", examples=[{"head": 0.0, "balanced": 1.1}])


class RefusedVersion(BaseModel):
    """Something in the models folder that is not served; looked at again when its files change."""

    name: str = Field(description="the model's folder")
    version: int | str | None = Field(
        description="its version; the name of a folder in its place; null where the model's own folder is meant"
    )
    reason: str = Field(examples=["bundle cifar10-lt/2: model.onnx is missing"])
    since: str = Field(description="when it was first refused like this")


class ModelList(BaseModel):
    """All models of this server."""

    models: list[ModelSummary]
    refused: list[RefusedVersion] = Field(description="what lies in the models folder and is not served")


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
    served_versions: list[int]
    task: str
    engine: str = Field(description="what computes it, and where")
    max_batch_images: int = Field(
        description="the most pictures computed at once, from a measurement when it was loaded"
    )
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
