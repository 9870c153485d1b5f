"""An infer request: JSON, behind it the tensors that came as bytes; or one picture and no JSON at all.

A name that means nothing is refused: a misspelt alpha is no alpha. A name that means something to an extension which
this server does not have is said to be missing, with 501.
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
FIELDS = ("id", "parameters", "inputs", "outputs", "model_name", "model_version")  # the last two say what the path does
INPUT_FIELDS = ("name", "shape", "datatype", "parameters", "data")
OUTPUT_FIELDS = ("name", "parameters")
MAX_DIMENSIONS = 8
PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")  # how JPEG, PNG and WebP files begin


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that is asked for.

    Args:
        name: one of OUTPUTS.
        binary: as bytes behind the answer's JSON.
        classes: how many of the highest values, as `value:index:label`; None for all the numbers.

    """

    name: str
    binary: bool
    classes: int | None = None


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a request says beside its tensors.

    Args:
        alpha: of all its images: a number, or an operating point's name.
        prior: as of classify.
        timeout: microseconds that it may take; 0 is no limit.
        binary_data_output: outputs that do not say themselves come as bytes.

    """

    alpha: float | str | None = None
    prior: str | None = None
    timeout: int = 0
    binary_data_output: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class InferRequest:
    """What is asked."""

    id: str | None
    parameters: Parameters
    inputs: Mapping[str, Tensor]
    outputs: tuple[RequestedOutput, ...]


def parse_request(body: bytes, json_bytes: int, max_json_mb: float) -> InferRequest:
    """Return what a request asks for whose first `json_bytes` bytes are JSON and the rest tensors.

    Raises:
        BodyTooLargeError: the JSON is, which is parsed while nobody else is served.
        RequestError: not the JSON that the protocol describes; the sentence says where.
        NotSupportedError: it asks for an extension that is not here.

    """
    if json_bytes > max_json_mb * 1e6:
        raise BodyTooLargeError(f"the JSON exceeds {max_json_mb:g} MB; send large tensors as binary data behind it")
    rest = memoryview(body)
    try:
        fields = orjson.loads(rest[:json_bytes])
    except orjson.JSONDecodeError as error:
        raise RequestError(
            f"the request is not JSON: {error}; or give {JSON_LENGTH_HEADER}, 0 for one picture as it is"
        ) from error
    fields = _object(fields, FIELDS, "the request")
    parameters = parse_parameters(_typed(fields, "parameters", dict, "an object") or {})
    inputs = _inputs(_typed(fields, "inputs", list, "a list"), rest[json_bytes:])
    asked = _typed(fields, "outputs", list, "a list") or [{"name": name} for name in OUTPUTS]
    outputs = unique_outputs(_output(entry, binary=parameters.binary_data_output) for entry in asked)
    return InferRequest(_typed(fields, "id", str, "a text"), parameters, inputs, outputs)


def raw_request(body: bytes, manifest: Manifest) -> InferRequest:
    """Return the request that a single picture is: its file; or the pixels, where it is as long as they are.

    Raises:
        EmptyBodyError: there is none.

    """
    if not body:
        raise EmptyBodyError("the body is empty; with a header length of 0 it is one picture")
    shape = (1, manifest.input.height, manifest.input.width, 3)
    if len(body) == shape[1] * shape[2] * shape[3] and not body.startswith(PICTURES):
        picture = from_binary("images", "UINT8", shape, memoryview(body))
    else:
        picture = Tensor("encoded", "BYTES", (1,), [body])
    return InferRequest(
        None, Parameters(), {picture.name: picture}, tuple(RequestedOutput(name, True) for name in OUTPUTS)
    )


def parse_parameters(fields: Mapping[str, Any]) -> Parameters:
    """Return what the parameters of a request mean.

    Raises:
        RequestError: a name that means nothing, or a value of another type.
        NotSupportedError: sequences, priorities.

    """
    for name in ("priority", "sequence_id", "sequence_start", "sequence_end"):
        if fields.get(name):
            raise NotSupportedError(f"parameter {name!r}: this server has neither sequences nor priorities")
    known = [field.name for field in dataclasses.fields(Parameters)]
    ignored = {"priority", "sequence_id", "sequence_start", "sequence_end"}
    if unknown := fields.keys() - {*known, *ignored}:
        raise RequestError(f"{min(unknown)[:64]!r} is no parameter of a request; there are: {', '.join(known)}")
    alpha = fields.get("alpha")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float | str | None):
        raise RequestError("parameter 'alpha' is neither a number nor an operating point's name")
    timeout = _typed(fields, "timeout", int, "a whole number of microseconds") or 0
    if timeout < 0:
        raise RequestError(f"parameter 'timeout' is {timeout} microseconds; give more, or 0 for no limit")
    return Parameters(
        alpha=alpha,
        prior=_typed(fields, "prior", str, "a text"),
        timeout=timeout,
        binary_data_output=_typed(fields, "binary_data_output", bool, "true or false") or False,
    )


def checked_input(
    name: Any, datatype: Any, shape: Any, parameters: Mapping[str, Any], before: Mapping[str, Tensor]
) -> tuple[str, tuple[int, ...]]:
    """Return the name and shape of an input.

    Raises:
        RequestError: no such input, one that came before, another datatype, no shape.
        NotSupportedError: shared memory.

    """
    if not isinstance(name, str) or name not in INPUTS:
        raise RequestError(f"there is no input {str(name)[:64]!r}; there are: {', '.join(INPUTS)}")
    if name in before:
        raise RequestError(f"input {name!r} comes twice")
    if datatype != INPUTS[name]:
        raise RequestError(f"input {name!r} is {INPUTS[name]}, not {str(datatype)[:64]!r}")
    _no_shared_memory(parameters, f"input {name!r}")
    return name, _shape(name, shape)


def unique_outputs(asked: Iterable[RequestedOutput]) -> tuple[RequestedOutput, ...]:
    """Return the outputs that are asked for, each once.

    Raises:
        RequestError: one is asked for twice; the protocol could not tell the two apart.

    """
    outputs: dict[str, RequestedOutput] = {}
    for wanted in asked:
        if outputs.setdefault(wanted.name, wanted) is not wanted:
            raise RequestError(f"output {wanted.name!r} is asked for twice")
    return tuple(outputs.values())


def requested_output(name: Any, parameters: Mapping[str, Any], *, binary: bool) -> RequestedOutput:
    """Return an output that is asked for.

    Raises:
        RequestError: no such output, or a parameter that means nothing.
        NotSupportedError: shared memory.

    """
    if name not in OUTPUTS:
        raise RequestError(f"there is no output {str(name)[:64]!r}; there are: {', '.join(OUTPUTS)}")
    where = f"output {name!r}"
    _no_shared_memory(parameters, where)
    _object(parameters, ("binary_data", "classification"), f"{where}, parameters")
    classes = _typed(parameters, "classification", int, "a number of classes")
    asked = _typed(parameters, "binary_data", bool, "true or false")
    return RequestedOutput(name, binary if asked is None else asked, classes)


def _inputs(entries: Any, rest: memoryview) -> dict[str, Tensor]:
    """Return the tensors; those sent as bytes follow one another in `rest`."""
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
            raise RequestError(f"input {name!r} has both data and a binary_data_size; give one of them")
        if not 0 <= size <= len(rest):
            raise RequestError(
                f"input {name!r} has {size} bytes of binary data, but {len(rest)} are left behind the JSON; "
                f"{JSON_LENGTH_HEADER} is the length of the JSON in bytes"
            )
        tensors[name] = from_binary(name, INPUTS[name], shape, rest[:size])
        rest = rest[size:]
    if len(rest):
        raise RequestError(f"{len(rest)} bytes behind the JSON belong to no input; give each its binary_data_size")
    return tensors


def _output(entry: Any, *, binary: bool) -> RequestedOutput:
    fields = _object(entry, OUTPUT_FIELDS, "an output")
    return requested_output(fields.get("name"), _typed(fields, "parameters", dict, "an object") or {}, binary=binary)


def _shape(name: str, shape: Any) -> tuple[int, ...]:
    """Return a shape; a dimension below 1 would be a tensor of nothing."""
    if not isinstance(shape, list) or not 1 <= len(shape) <= MAX_DIMENSIONS:
        raise RequestError(f"input {name!r} needs a shape, a list of 1 to {MAX_DIMENSIONS} numbers")
    if any(type(size) is not int or size < 1 for size in shape):
        raise RequestError(f"input {name!r}: every number of its shape is whole and at least 1")
    return tuple(shape)


def _no_shared_memory(parameters: Mapping[str, Any], where: str) -> None:
    if any(str(key).startswith("shared_memory") for key in parameters):
        raise NotSupportedError(f"{where}: this server has no shared memory; send the bytes behind the JSON")


def _object(value: Any, known: tuple[str, ...], what: str) -> Mapping[str, Any]:
    """Return an object none of whose names is unknown."""
    if not isinstance(value, Mapping):
        raise RequestError(f"{what} is no JSON object; its fields may be: {', '.join(known)}")
    if unknown := value.keys() - set(known):
        raise RequestError(f"{what}: {min(unknown)[:64]!r} means nothing here; there are: {', '.join(known)}")
    return value


def _typed(fields: Mapping[str, Any], name: str, kind: type[T], meant: str) -> T | None:
    """Return a field's value; None where it is absent or null."""
    value = fields.get(name)
    if value is not None and type(value) is not kind:
        raise RequestError(f"{name!r} is not {meant}")
    return value
