"""The protocol in the OpenAPI schema: parameters, example bodies and responses. It validates nothing.

The routes receive and return bytes, so FastAPI cannot derive their schema.
"""

from typing import Any

from service.openinference.metadata import EXTENSIONS
from service.openinference.requests import JSON_LENGTH_HEADER
from service.openinference.signature import INPUTS, OUTPUTS
from service.schemas.openinference import InferResponse, ProtocolError

__all__ = [
    "ANSWER", "CONFIG", "INDEX", "INFER", "MODEL", "MODELS", "SERVER", "STATISTICS", "Responses", "answers",
    "path_parameters",
]  # fmt: skip

Responses = dict[int | str, dict[str, Any]]

_SKY_OVER_GRASS = (  # a PNG of 4 x 4 pixels, which every model resizes to its input size
    "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAGElEQVR42mOMWvCBAQaYGJAAy6M3PthlAJNcBA4Su1LNAAAAAElFTkSuQmCC"
)
_ONE_PICTURE = {"name": "encoded", "datatype": "BYTES", "shape": [1], "data": [_SKY_OVER_GRASS]}
_TWO_PICTURES = {"name": "encoded", "datatype": "BYTES", "shape": [2], "data": [_SKY_OVER_GRASS] * 2}
_TOP_3 = {"name": "probabilities", "parameters": {"classification": 3}}
_REQUESTS = {
    "three classes of a picture": {
        "value": {"id": "1", "inputs": [_ONE_PICTURE], "outputs": [_TOP_3], "parameters": {"alpha": "balanced"}}
    },
    "an alpha for each picture": {
        "value": {
            "inputs": [_TWO_PICTURES, {"name": "alpha", "datatype": "FP32", "shape": [2], "data": [0, 1.5]}],
            "outputs": [{"name": "head_cosine"}, _TOP_3],
        }
    },
    "all outputs": {"value": {"inputs": [_ONE_PICTURE]}},
}
_DURATION = {"count": 12, "ns": 3_400_000}
_STAGES = {"compute_input": _DURATION, "compute_infer": _DURATION, "compute_output": _DURATION}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_NULL = {"type": "null"}
_PARAMETERS = {"anyOf": [{"type": "object", "additionalProperties": True}, _NULL]}
_INPUT = {
    "title": "InferInput",
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string", "enum": list(INPUTS)},
        "datatype": {"type": "string", "enum": sorted(set(INPUTS.values()))},
        "shape": {"type": "array", "minItems": 1, "maxItems": 8, "items": {"type": "integer", "minimum": 1}},
        "parameters": _PARAMETERS,
        "data": {"anyOf": [{"type": "array", "items": {}}, _NULL]},
    },
}
_OUTPUT = {
    "title": "InferOutput",
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {"name": {"type": "string", "enum": list(OUTPUTS)}, "parameters": _PARAMETERS},
}
_REQUEST = {
    "$defs": {"InferInput": _INPUT, "InferOutput": _OUTPUT},
    "title": "InferRequest",
    "type": "object",
    "additionalProperties": False,
    "required": ["inputs"],
    "properties": {
        "id": {"anyOf": [{"type": "string"}, _NULL]},
        "model_name": {},
        "model_version": {},
        "parameters": _PARAMETERS,
        "inputs": {"type": "array", "minItems": 1, "items": _reference("InferInput")},
        "outputs": {"anyOf": [{"type": "array", "items": _reference("InferOutput")}, _NULL]},
    },
}


def _path_parameter(name: str, description: str, *values: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "description": description,
        "examples": {value: {"value": value} for value in values},
    }


_NAMES = {
    "model": _path_parameter("model", "One of `GET /v1/models`.", "cifar10-lt", "cifar100-lt"),
    "version": _path_parameter("version", "A version in service.", "1"),
}
INFER = {
    "parameters": [
        {
            "name": JSON_LENGTH_HEADER,
            "in": "header",
            "schema": {"type": "integer", "minimum": 0, "examples": [0]},
            "description": "The length of the body's JSON part in bytes, before compression; binary tensors follow it. "
            "If it is 0, the body is one picture. Without this header the whole body is JSON.",
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _REQUEST, "examples": _REQUESTS},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}},
        },
    },
}
SERVER = {"name": "longtail", "version": "1", "extensions": list(EXTENSIONS)}
MODELS = {"models": ["cifar10-lt", "cifar100-lt"]}
MODEL = {
    "name": "cifar10-lt",
    "versions": ["1"],
    "platform": "onnxruntime_onnx",
    "inputs": [
        {"name": "images", "datatype": "UINT8", "shape": [-1, 32, 32, 3]},
        {"name": "encoded", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "alpha", "datatype": "FP32", "shape": [-1, 1]},
    ],
    "outputs": [
        {"name": "logits", "datatype": "FP32", "shape": [-1, 10]},
        {"name": "head_cosine", "datatype": "FP32", "shape": [-1, 2]},
        {"name": "tde_logits", "datatype": "FP32", "shape": [-1, 10]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
    ],
}
CONFIG = {
    "name": "cifar10-lt",
    "platform": "onnxruntime_onnx",
    "max_batch_size": 64,
    "input": [{"name": "images", "data_type": "TYPE_UINT8", "dims": [32, 32, 3], "optional": True}],
    "output": [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": [10]}],
    "parameters": {"alpha.balanced": {"string_value": "1.25"}},
}
ANSWER = {
    "model_name": "cifar10-lt",
    "model_version": "1",
    "id": "1",
    "outputs": [
        {
            "name": "probabilities",
            "datatype": "BYTES",
            "shape": [1, 3],
            "data": ["0.61:0:airplane", "0.2:8:ship", "0.1:2:bird"],
        }
    ],
}
STATISTICS = {
    "model_stats": [
        {
            "name": "cifar10-lt",
            "version": "1",
            "last_inference": 1_795_435_200_000,
            "inference_count": 12,
            "execution_count": 5,
            "inference_stats": {"success": _DURATION, "fail": {"count": 0, "ns": 0}, "queue": _DURATION, **_STAGES},
            "batch_stats": [{"batch_size": 4, **_STAGES}],
        }
    ]
}
INDEX = [
    {"name": "cifar10-lt", "version": "1", "state": "READY", "reason": ""},
    {
        "name": "cifar10-lt",
        "version": "2",
        "state": "UNAVAILABLE",
        "reason": "model.onnx is not the file that was saved",
    },
]


def path_parameters(path: str) -> dict[str, Any]:
    """Return the documentation of a path's parameters."""
    return {"parameters": [parameter for name, parameter in _NAMES.items() if f"{{{name}}}" in path]}


def answers(shape: Any, example: Any, *errors: int) -> Responses:
    """Document a route's responses.

    Args:
        shape: the type of the answer's JSON; None for an empty body.
        example: an answer.
        errors: the statuses of the errors.

    """
    good: dict[str, Any] = {"description": "Done" if shape is None else "Answer"}
    if shape is not None:
        good |= {"model": shape, "content": {"application/json": {"example": example}}}
    if shape is InferResponse:
        good["content"]["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return {200: good, **{status: {"model": ProtocolError} for status in errors}}
