"""The answer to an infer request: JSON, and behind it the outputs that were asked for as bytes."""

from collections.abc import Sequence
from typing import Any

import orjson

from service.inference.registry import ServedModel
from service.openinference.requests import InferRequest
from service.openinference.tensors import Tensor, to_binary, to_json

__all__ = ["encode_response"]


def encode_response(served: ServedModel, request: InferRequest, tensors: Sequence[Tensor]) -> tuple[bytes, int | None]:
    """Return the body, and how many bytes of it are JSON where others follow, else None."""
    outputs = []
    binary = []
    for wanted, tensor in zip(request.outputs, tensors, strict=True):
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if wanted.binary:
            data = to_binary(tensor)
            binary.append(data)
            outputs.append(entry | {"parameters": {"binary_data_size": len(data)}})
        else:
            outputs.append(entry | {"data": to_json(tensor)})
    answer: dict[str, Any] = {"model_name": served.name, "model_version": str(served.version)}
    if request.id is not None:
        answer["id"] = request.id
    text = orjson.dumps(answer | {"outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    if not binary:
        return text, None
    return b"".join((text, *binary)), len(text)
