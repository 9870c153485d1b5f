"""An infer request: JSON, followed by the tensors that are sent as bytes; or a single picture without JSON.

An unknown name is refused, so a misspelt `alpha` does not go unnoticed. A name that belongs to an extension which this
server does not have is answered with 501.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from models.manifest import Manifest
from service.errors import BodyTooLargeError, EmptyBodyError, NotSupportedError, RequestError
from service.openinference.signature import INPUTS, OUTPUTS
from service.openinference.tensors import Tensor, from_binary, from_json

__all__ = [
    "JSON_LENGTH_HEADER", "InferRequest", "Parameters", "RequestedOutput", "checked_input", "parse_parameters",
    "parse_request", "raw_request", "requested_output", "unique_outputs",
]  # fmt: skip

T = TypeVar("T")
JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
FIELDS = ("id", "parameters", "inputs", "outputs", "model_name", "model_version")  # the path has the last two as well
INPUT_FIELDS = ("name", "shape", "datatype", "parameters", "data")
OUTPUT_FIELDS = ("name", "parameters")
MAX_DIMENSIONS = 8
MAGIC_BYTES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")  # the first bytes of JPEG, PNG and WebP files


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that a request asks for.

    Args:
        name: one of OUTPUTS.
        binary: whether it is sent as bytes after the response's JSON.
        classes: how many of the highest values to send, as `value:index:label`; None sends all values as numbers.

    """

    name: str
    binary: bool
    classes: int | None = None


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a request.

    Args:
        alpha: alpha for all images, a number or an operating point's name.
        prior: the class prior to adjust to, as in classify requests.
        timeout: maximum duration in microseconds; 0 is no limit.
        binary_data_output: whether outputs are sent as bytes unless they say otherwise.

    """

    alpha: float | str | None = None
    prior: str | None = None
    timeout: int = 0
    binary_data_output: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class InferRequest:
    """A parsed infer request."""

    id: str | None
    parameters: Parameters
    inputs: Mapping[str, Tensor]
    outputs: tuple[RequestedOutput, ...]


def parse_request(body: bytes, json_bytes: int, max_json_mb: float) -> InferRequest:
    """Return the request in a body whose first `json_bytes` bytes are JSON and the rest binary tensors.

    Raises:
        BodyTooLargeError: the JSON is larger than `max_json_mb`; parsing it would block the process for too long.
        RequestError: the request does not follow the protocol; the message says where.
        NotSupportedError: the request needs an extension that this server does not have.

    """
    if json_bytes > max_json_mb * 1e6:
        raise BodyTooLargeError(f"the JSON exceeds {max_json_mb:g} MB; send large tensors as binary data after it")
    rest = memoryview(body)
    try:
        fields = orjson.loads(rest[:json_bytes])
    except orjson.JSONDecodeError as error:
        raise RequestError(
            f"the request is not JSON: {error}; to send a picture as the whole body, set {JSON_LENGTH_HEADER} to 0"
        ) from error
    fields = _object(fields, FIELDS, "the request")
    parameters = parse_parameters(_typed(fields, "parameters", dict, "an object") or {})
    inputs = _inputs(_typed(fields, "inputs", list, "a list"), rest[json_bytes:])
    entries = _typed(fields, "outputs", list, "a list") or [{"name": name} for name in OUTPUTS]
    outputs = unique_outputs(_output(entry, binary=parameters.binary_data_output) for entry in entries)
    return InferRequest(_typed(fields, "id", str, "a string"), parameters, inputs, outputs)


def raw_request(body: bytes, manifest: Manifest) -> InferRequest:
    """Return the request for a body that is a single picture: an encoded file, or pixels if the length fits.

    Raises:
        EmptyBodyError: the body is empty.

    """
    if not body:
        raise EmptyBodyError("the body is empty; with a JSON length of 0 it must be one picture")
    shape = (1, manifest.input.height, manifest.input.width, 3)
    if len(body) == shape[1] * shape[2] * shape[3] and not body.startswith(MAGIC_BYTES):
        tensor = from_binary("images", "UINT8", shape, memoryview(body))
    else:
        tensor = Tensor("encoded", "BYTES", (1,), [body])
    return InferRequest(
        None, Parameters(), {tensor.name: tensor}, tuple(RequestedOutput(name, True) for name in OUTPUTS)
    )


def parse_parameters(fields: Mapping[str, Any]) -> Parameters:
    """Return the parameters of a request.

    Raises:
        RequestError: a name is unknown, or a value has the wrong type or is out of range.
        NotSupportedError: the request belongs to a sequence or has a priority.

    """
    for name in ("priority", "sequence_id", "sequence_start", "sequence_end"):
        if fields.get(name):
            raise NotSupportedError(
                f"parameter {name!r} is not supported: this server has neither sequences nor priorities"
            )
    known = [field.name for field in dataclasses.fields(Parameters)]
    ignored = {"priority", "sequence_id", "sequence_start", "sequence_end"}
    if unknown := fields.keys() - {*known, *ignored}:
        raise RequestError(f"unknown parameter {min(unknown)[:64]!r}; a request has: {', '.join(known)}")
    alpha = fields.get("alpha")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float | str | None):
        raise RequestError("parameter 'alpha' is neither a number nor an operating point's name")
    timeout = _typed(fields, "timeout", int, "a whole number of microseconds") or 0
    if timeout < 0:
        raise RequestError(f"parameter 'timeout' is {timeout} microseconds; give a positive number, or 0 for no limit")
    return Parameters(
        alpha=alpha,
        prior=_typed(fields, "prior", str, "a string"),
        timeout=timeout,
        binary_data_output=_typed(fields, "binary_data_output", bool, "true or false") or False,
    )


def checked_input(
    name: Any, datatype: Any, shape: Any, parameters: Mapping[str, Any], earlier: Mapping[str, Tensor]
) -> tuple[str, tuple[int, ...]]:
    """Return the name and shape of an input.

    Raises:
        RequestError: its name is unknown or was used before, or its datatype or shape is wrong.
        NotSupportedError: it is in shared memory.

    """
    if not isinstance(name, str) or name not in INPUTS:
        raise RequestError(f"there is no input {str(name)[:64]!r}; there are: {', '.join(INPUTS)}")
    if name in earlier:
        raise RequestError(f"input {name!r} is given twice")
    if datatype != INPUTS[name]:
        raise RequestError(f"input {name!r} is {INPUTS[name]}, not {str(datatype)[:64]!r}")
    _no_shared_memory(parameters, f"input {name!r}")
    return name, _shape(name, shape)


def unique_outputs(requested: Iterable[RequestedOutput]) -> tuple[RequestedOutput, ...]:
    """Return the requested outputs, after checking that each is requested once.

    Raises:
        RequestError: an output is requested twice; a response could not tell the two apart.

    """
    outputs: dict[str, RequestedOutput] = {}
    for output in requested:
        if outputs.setdefault(output.name, output) is not output:
            raise RequestError(f"output {output.name!r} is requested twice")
    return tuple(outputs.values())


def requested_output(name: Any, parameters: Mapping[str, Any], *, binary: bool) -> RequestedOutput:
    """Return an output that a request asks for.

    Raises:
        RequestError: its name or one of its parameters is unknown.
        NotSupportedError: it is to be written to shared memory.

    """
    if name not in OUTPUTS:
        raise RequestError(f"there is no output {str(name)[:64]!r}; there are: {', '.join(OUTPUTS)}")
    where = f"output {name!r}"
    _no_shared_memory(parameters, where)
    _object(parameters, ("binary_data", "classification"), f"{where}, parameters")
    classes = _typed(parameters, "classification", int, "a number of classes")
    binary_data = _typed(parameters, "binary_data", bool, "true or false")
    return RequestedOutput(name, binary if binary_data is None else binary_data, classes)


def _inputs(entries: Any, rest: memoryview) -> dict[str, Tensor]:
    """Return the tensors; the binary ones follow one another in `rest`."""
    tensors: dict[str, Tensor] = {}
    for entry in entries or ():
        fields = _object(entry, INPUT_FIELDS, "an input")
        parameters = _typed(fields, "parameters", dict, "an object") or {}
        name = fields.get("name")
        datatype = fields.get("datatype")
        name, shape = checked_input(name, datatype, fields.get("shape"), parameters, tensors)
        _object(parameters, ("binary_data_size",), f"input {name!r}, parameters")
        size = _typed(parameters, "binary_data_size", int, "a number of bytes")
        if size is None:
            tensors[name] = from_json(name, INPUTS[name], shape, fields.get("data"))
            continue
        if fields.get("data") is not None:
            raise RequestError(f"input {name!r} has both data and a binary_data_size; send one of them")
        if not 0 <= size <= len(rest):
            raise RequestError(
                f"input {name!r} has {size} bytes of binary data, but {len(rest)} are left after the JSON; "
                f"{JSON_LENGTH_HEADER} must be the length of the JSON in bytes"
            )
        tensors[name] = from_binary(name, INPUTS[name], shape, rest[:size])
        rest = rest[size:]
    if len(rest):
        raise RequestError(
            f"{len(rest)} bytes after the JSON belong to no input; give each binary input its binary_data_size"
        )
    return tensors


def _output(entry: Any, *, binary: bool) -> RequestedOutput:
    fields = _object(entry, OUTPUT_FIELDS, "an output")
    return requested_output(fields.get("name"), _typed(fields, "parameters", dict, "an object") or {}, binary=binary)


def _shape(name: str, shape: Any) -> tuple[int, ...]:
    """Return a checked shape; every dimension is at least 1, so no tensor is empty."""
    if not isinstance(shape, list) or not 1 <= len(shape) <= MAX_DIMENSIONS:
        raise RequestError(f"input {name!r} needs a shape, a list of 1 to {MAX_DIMENSIONS} numbers")
    if any(type(size) is not int or size < 1 for size in shape):
        raise RequestError(f"input {name!r}: every dimension of its shape must be a whole number of at least 1")
    return tuple(shape)


def _no_shared_memory(parameters: Mapping[str, Any], where: str) -> None:
    if any(str(key).startswith("shared_memory") for key in parameters):
        raise NotSupportedError(f"{where}: shared memory is not supported; send the bytes after the JSON")


def _object(value: Any, known: tuple[str, ...], where: str) -> Mapping[str, Any]:
    """Return a JSON object, after checking that all of its fields are known."""
    if not isinstance(value, Mapping):
        raise RequestError(f"{where} is not a JSON object; its fields are: {', '.join(known)}")
    if unknown := value.keys() - set(known):
        raise RequestError(f"{where}: unknown field {min(unknown)[:64]!r}; the fields are: {', '.join(known)}")
    return value


def _typed(fields: Mapping[str, Any], name: str, kind: type[T], description: str) -> T | None:
    """Return a field's value; None if it is absent or null."""
    value = fields.get(name)
    if value is not None and type(value) is not kind:
        raise RequestError(f"{name!r} is not {description}")
    return value
