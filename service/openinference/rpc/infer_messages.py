"""An infer request as a message, and its answer as one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from service.errors import RequestError
from service.inference.registry import ServedModel
from service.openinference.requests import (
    InferRequest,
    RequestedOutput,
    checked_input,
    parse_parameters,
    requested_output,
    unique_outputs,
)
from service.openinference.rpc.messages import message_class
from service.openinference.signature import OUTPUTS
from service.openinference.tensors import Tensor, from_binary, from_json, to_binary

__all__ = ["parameters_of", "read_request", "write_response"]

CONTENTS = {"UINT8": "uint_contents", "FP32": "fp32_contents", "BYTES": "bytes_contents"}


def read_request(message: Any) -> InferRequest:
    """Return what a ModelInferRequest asks for; outputs always go as bytes, as Triton sends them.

    Raises:
        RequestError, NotSupportedError: as of a request in JSON.

    """
    asked = [requested_output(each.name, parameters_of(each), binary=True) for each in message.outputs]
    return InferRequest(
        message.id or None,
        parse_parameters(parameters_of(message)),
        _inputs(message),
        unique_outputs(asked or [RequestedOutput(name, binary=True) for name in OUTPUTS]),
    )


def write_response(served: ServedModel, request: InferRequest, tensors: Sequence[Tensor]) -> Any:
    """Return the ModelInferResponse."""
    answer = message_class("ModelInferResponse")(
        model_name=served.name, model_version=str(served.version), id=request.id or ""
    )
    for tensor in tensors:
        answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        answer.raw_output_contents.append(bytes(to_binary(tensor)))
    return answer


def parameters_of(message: Any) -> Mapping[str, Any]:
    """Return the parameters of a message by name."""
    found = {}
    for name, value in message.parameters.items():
        choice = value.WhichOneof("choice")
        if choice is None:
            raise RequestError(f"parameter {name[:64]!r} has no value")
        found[name] = getattr(value, choice)
    return found


def _inputs(message: Any) -> dict[str, Tensor]:
    raw = message.raw_input_contents
    tensors = dict[str, Tensor]()
    if raw and len(raw) != len(message.inputs):
        raise RequestError(f"{len(message.inputs)} inputs but {len(raw)} raw_input_contents; each input has one")
    for index, each in enumerate(message.inputs):
        parameters = parameters_of(each)
        name, shape = checked_input(each.name, each.datatype, list(each.shape), parameters, tensors)
        if parameters:
            raise RequestError(f"input {name!r}: {min(parameters)[:64]!r} means nothing here; it has no parameters")
        if raw:
            tensors[name] = from_binary(name, each.datatype, shape, memoryview(raw[index]))
        else:
            tensors[name] = _from_contents(
                name, each.datatype, shape, list(getattr(each.contents, CONTENTS[each.datatype]))
            )
    return tensors


def _from_contents(name: str, datatype: str, shape: tuple[int, ...], elements: list[Any]) -> Tensor:
    """Return the tensor whose elements are in the message one by one."""
    if datatype != "BYTES":
        return from_json(name, datatype, shape, elements)
    if len(elements) != math.prod(shape):
        raise RequestError(
            f"input {name!r} of shape {list(shape)} has {math.prod(shape)} elements, not {len(elements)}"
        )
    return Tensor(name, datatype, shape, elements)
