"""Conversion between an infer request or response and its gRPC message."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

from service.errors import RequestError
from service.inference.registry import ServedModel
from service.openinference.parameters import Parameters, parse_parameters
from service.openinference.requests import (
    InferRequest,
    RequestedOutput,
    check_request_content_type,
    checked_input,
    decoded_input,
    requested_output,
    unique_outputs,
)
from service.openinference.rpc.messages import message_class
from service.openinference.signature import OUTPUTS
from service.openinference.tensors import Tensor, from_binary, from_json, to_binary

__all__ = ["parameters_of", "read_request", "write_response"]

CONTENTS = {"UINT8": "uint_contents", "FP32": "fp32_contents", "BYTES": "bytes_contents"}


def read_request(message: Any) -> InferRequest:
    """Return the request in a ModelInferRequest; its outputs are always sent as bytes, as Triton does.

    Raises:
        RequestError, NotSupportedError: as for a request in JSON.

    """
    outputs = [requested_output(output.name, parameters_of(output), binary=True) for output in message.outputs]
    parameters = parse_parameters(parameters_of(message))
    return InferRequest(
        message.id or None,
        parameters,
        _inputs(message, parameters),
        unique_outputs(outputs or [RequestedOutput(name, binary=True) for name in OUTPUTS]),
    )


def write_response(served: ServedModel, request: InferRequest, tensors: Sequence[Tensor]) -> Any:
    """Return the ModelInferResponse with these outputs."""
    response = message_class("ModelInferResponse")(
        model_name=served.name, model_version=str(served.version), id=request.id or ""
    )
    for tensor in tensors:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        response.raw_output_contents.append(bytes(to_binary(tensor)))
    return response


def parameters_of(message: Any) -> Mapping[str, Any]:
    """Return the parameters of a message by name.

    Raises:
        RequestError: a parameter has no value.

    """
    parameters = {}
    for name, value in message.parameters.items():
        choice = value.WhichOneof("parameter_choice")
        if choice is None:
            raise RequestError(f"parameter {name[:64]!r} has no value")
        parameters[name] = getattr(value, choice)
    return parameters


def _inputs(message: Any, of_request: Parameters) -> dict[str, Tensor]:
    raw = message.raw_input_contents
    tensors = dict[str, Tensor]()
    if raw and len(raw) != len(message.inputs):
        raise RequestError(
            f"{len(message.inputs)} inputs but {len(raw)} raw_input_contents; send one for each input, or none"
        )
    for index, given in enumerate(message.inputs):
        parameters = parameters_of(given)
        name, shape = checked_input(given.name, given.datatype, list(given.shape), parameters, tensors)
        if raw and given.contents.ByteSize():
            raise RequestError(f"input {name!r} has both contents and raw_input_contents; send one of them")
        if raw:
            tensor = from_binary(name, given.datatype, shape, memoryview(raw[index]))
        else:
            wanted = CONTENTS[given.datatype]
            others = [field.name for field, _ in given.contents.ListFields() if field.name != wanted]
            if others or len(UnknownFieldSet(given.contents)):  # our proto has only the contents of our datatypes
                raise RequestError(f"input {name!r} is {given.datatype}: send {wanted} and no other contents")
            elements = list(getattr(given.contents, wanted))
            tensor = _from_elements(name, given.datatype, shape, elements)
        tensors[name] = decoded_input(tensor, parameters, of_request)
    check_request_content_type(of_request, tensors)
    return tensors


def _from_elements(name: str, datatype: str, shape: tuple[int, ...], elements: list[Any]) -> Tensor:
    """Return the tensor whose elements are separate values in the message."""
    if datatype != "BYTES":
        return from_json(name, datatype, shape, elements)
    if len(elements) != math.prod(shape):
        raise RequestError(
            f"input {name!r} of shape {list(shape)} needs {math.prod(shape)} elements, not {len(elements)}"
        )
    return Tensor(name, datatype, shape, elements)
