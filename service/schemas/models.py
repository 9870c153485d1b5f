"""The shapes of model descriptions and health probes."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.schemas.common import Group

__all__ = ["ClassInfo", "Health", "ModelDetail", "ModelList", "ModelSummary", "OperatingPoint", "RefusedVersion"]


class ModelSummary(BaseModel):
    """A model in the list."""

    name: str = Field(examples=["cifar10-lt"])
    version: int = Field(
        description="the version that answers if a request names none: the highest valid one", examples=[1]
    )
    versions: list[int] = Field(description="all versions in the models folder")
    served_versions: list[int] = Field(description="the versions in service, which `version` may name")
    classes: int = Field(description="number of classes", examples=[10])
    operating_points: dict[str, float] = Field(description="name -> alpha", examples=[{"head": 0.0, "balanced": 1.1}])


class RefusedVersion(BaseModel):
    """A version in the models folder that is not served; the server tries it again when its files change."""

    name: str = Field(description="the model's folder")
    version: int | str | None = Field(
        description="the version, or the name of a folder that is not a version; null for the model's own folder"
    )
    reason: str = Field(examples=["bundle cifar10-lt/2: model.onnx is missing"])
    since: str = Field(description="when it was first refused for this reason")


class ModelList(BaseModel):
    """The models of this server."""

    models: list[ModelSummary]
    refused: list[RefusedVersion] = Field(description="what is in the models folder but not served")


class ClassInfo(BaseModel):
    """A class and the number of its training images."""

    name: str
    training_count: int
    group: Group


class OperatingPoint(BaseModel):
    """A named alpha."""

    alpha: float = Field(examples=[0.99])
    chosen_by: str = Field(description="how it was chosen")
    source: Literal["bundle", "stored"] = Field(description="`bundle`: the model's own; `stored`: set through the API")
    since: str | None = Field(description="when it was set; null for the model's own", examples=[None])


def _open(schema: dict[str, Any]) -> None:
    """Let the document allow further fields: a client made from it must accept the answers of a later version."""
    del schema["additionalProperties"]


class ModelDetail(BaseModel):
    """A full description of a model; docs/reference/bundle-format.md explains the fields of the bundle."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_open)

    name: str
    version: int
    versions: list[int]
    served_versions: list[int]
    task: str
    engine: str = Field(description="what runs the network, and on which device")
    max_batch_images: int = Field(description="the largest batch, from a measurement when the model was loaded")
    classes: list[ClassInfo]
    input: dict[str, Any] = Field(description="how a picture becomes the network's input: size, resize, mean, std")
    num_heads: int
    tau: float
    gamma: float
    exempt_class: int | None
    operating_points: dict[str, OperatingPoint] = Field(description="the operating points in force")
    max_alpha: float = Field(description="the largest absolute value of alpha that this server accepts")
    class_effect: list[list[float]] = Field(
        description="(K, C), heads and classes: multiplied by alpha and the picture's head cosines, and summed over K, "
        "it is subtracted from the logits"
    )
    metrics: dict[str, Any] = Field(description="accuracy, and how it was measured")
    provenance: dict[str, Any] = Field(description="how it was trained")


class Health(BaseModel):
    """The answer of a health probe."""

    status: Literal["ok", "ready"]
