"""The response to an infer request: JSON, followed by the outputs that were requested as bytes."""

from collections.abc import Sequence
from typing import Any

import orjson

from service.inference.registry import ServedModel
from service.openinference.requests import InferRequest
from service.openinference.tensors import Tensor, to_binary, to_json

__all__ = ["encode_response"]


def encode_response(served: ServedModel, request: InferRequest, tensors: Sequence[Tensor]) -> tuple[bytes, int | None]:
    """Return the body, and the length of its JSON part in bytes if binary outputs follow it, otherwise None."""
    outputs = []
    binary = []
    for requested, tensor in zip(request.outputs, tensors, strict=True):
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if requested.binary:
            data = to_binary(tensor)
            binary.append(data)
            outputs.append(entry | {"parameters": {"binary_data_size": len(data)}})
        else:
            outputs.append(entry | {"data": to_json(tensor)})
    response: dict[str, Any] = {"model_name": served.name, "model_version": str(served.version)}
    if request.id is not None:
        response["id"] = request.id
    text = orjson.dumps(response | {"outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    if not binary:
        return text, None
    return b"".join((text, *binary)), len(text)
