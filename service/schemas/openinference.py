"""The shapes of the answers under /v2, for the OpenAPI document. The routes write bytes, so these validate nothing."""

from typing import Any, Literal

from pydantic import BaseModel, Field

__all__ = [
    "InferResponse", "ModelConfig", "ModelMetadata", "ModelNames", "ModelReady", "ModelStatistics", "ProtocolError",
    "RepositoryEntry", "ServerLive", "ServerMetadata", "ServerReady",
]  # fmt: skip


class ProtocolError(BaseModel):
    """The body of every error under /v2, as the Open Inference Protocol defines it."""

    error: str = Field(description="for people: what is wrong and what would work")


class ServerMetadata(BaseModel):
    """The server, and what it has beyond the protocol's core."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(BaseModel):
    """Whether the process is alive."""

    live: bool


class ServerReady(BaseModel):
    """Whether the server is ready."""

    ready: bool


class ModelReady(BaseModel):
    """Whether a model is in service."""

    name: str
    ready: bool


class ModelNames(BaseModel):
    """The names of the models in service."""

    models: list[str]


class TensorMetadata(BaseModel):
    """An input or an output."""

    name: str
    datatype: str
    shape: list[int] = Field(description="-1 stands for the batch dimension")


class ModelMetadata(BaseModel):
    """A model's inputs and outputs."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelConfig(BaseModel):
    """The fields of Triton's config.pbtxt that apply to this server."""

    name: str
    platform: str
    max_batch_size: int
    input: list[dict[str, Any]]
    output: list[dict[str, Any]]
    parameters: dict[str, dict[str, str]] = Field(description="`alpha.NAME` are the operating points in force")


class Duration(BaseModel):
    """How often something happened, and how long it took in all."""

    count: int
    ns: int


class InferenceStatistics(BaseModel):
    """The stages of all requests."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class BatchStatistics(BaseModel):
    """The stages of the batches of one size."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class VersionStatistics(BaseModel):
    """What one version did since it was loaded, in the process that answers."""

    name: str
    version: str
    last_inference: int = Field(description="milliseconds since 1970")
    inference_count: int
    execution_count: int
    inference_stats: InferenceStatistics
    batch_stats: list[BatchStatistics]


class ModelStatistics(BaseModel):
    """The statistics of some versions."""

    model_stats: list[VersionStatistics]


class RepositoryEntry(BaseModel):
    """A version in the models folder or in service."""

    name: str
    version: str
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    reason: str = Field(description="why it is not in service; empty if it is")


class InferredTensor(BaseModel):
    """An output."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = Field(None, description="absent if the values follow the JSON as bytes")
    parameters: dict[str, Any] | None = Field(None, description="`binary_data_size`, if they do")


class InferResponse(BaseModel):
    """The outputs of an infer request."""

    model_name: str
    model_version: str
    id: str | None = Field(None, description="the request's id, if it has one")
    outputs: list[InferredTensor]
