"""An infer request: JSON, followed by the tensors that are sent as bytes; or a single picture without JSON.

An unknown name is refused (`parameters.py`). A name that belongs to an extension which this server does not have is
answered with 501.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from models.manifest import Manifest
from service.errors import BodyTooLargeError, EmptyBodyError, NotSupportedError, RequestError
from service.openinference.parameters import (
    CONTENT_TYPES,
    INPUT_PARAMETERS,
    OUTPUT_PARAMETERS,
    TEXT_CONTENT_TYPES,
    Parameters,
    check_content_type,
    known_fields,
    parse_parameters,
    typed,
    whole_number,
)
from service.openinference.signature import INPUTS, OUTPUTS
from service.openinference.tensors import Tensor, from_base64, from_binary, from_json
from service.web.unique_keys import check_unique_keys

__all__ = [
    "JSON_LENGTH_HEADER", "InferRequest", "RequestedOutput", "check_request_content_type", "checked_input",
    "decoded_input", "parse_request", "raw_request", "requested_output", "unique_outputs",
]  # fmt: skip

JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
FIELDS = ("id", "parameters", "inputs", "outputs", "model_name", "model_version")  # the path names the last two
INPUT_FIELDS = ("name", "shape", "datatype", "parameters", "data")
OUTPUT_FIELDS = ("name", "parameters")
LABEL_CONTENT_TYPES = ("str", "np")  # for the `value:index:label` of a classification
MAX_DIMENSIONS = 8
MAGIC_BYTES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")  # the first bytes of JPEG, PNG and WebP files
BASE64_MAGIC_BYTES = (b"/9j/", b"iVBORw0KGgo", b"UklGR")  # the same in base64


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


@dataclass(frozen=True, slots=True, eq=False)
class InferRequest:
    """A parsed infer request."""

    id: str | None
    parameters: Parameters
    inputs: Mapping[str, Tensor]
    outputs: tuple[RequestedOutput, ...]


def parse_request(body: bytes, json_bytes: int, max_json_mb: float, manifest: Manifest) -> InferRequest:
    """Return the request in a body whose first `json_bytes` bytes are JSON and the rest binary tensors.

    Args:
        body: the uncompressed body.
        json_bytes: how many bytes of it are JSON.
        max_json_mb: maximum size of the JSON.
        manifest: that of the model which the path names.

    Raises:
        BodyTooLargeError: the JSON is larger than `max_json_mb`; parsing it would block the process for too long.
        RequestError: the request does not follow the protocol; the message says where.
        ProtocolFieldError: a field or parameter is unknown.
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
    check_unique_keys(body[:json_bytes], fields, "the request")
    fields = known_fields(fields, FIELDS, "the request")
    _check_model(fields, manifest)
    parameters = parse_parameters(typed(fields, "parameters", dict, "an object") or {})
    inputs = _inputs(typed(fields, "inputs", list, "a list"), rest[json_bytes:], parameters)
    entries = typed(fields, "outputs", list, "a list") or [{"name": name} for name in OUTPUTS]
    outputs = unique_outputs(_output(entry, binary=parameters.binary_data_output) for entry in entries)
    return InferRequest(typed(fields, "id", str, "a string"), parameters, inputs, outputs)


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


def checked_input(
    name: Any, datatype: Any, shape: Any, parameters: Mapping[str, Any], earlier: Mapping[str, Tensor]
) -> tuple[str, tuple[int, ...]]:
    """Return the name and shape of an input, after checking them, its datatype and its parameters.

    Raises:
        RequestError: its name is unknown or was used before, or its datatype, its shape or a parameter is wrong.
        ProtocolFieldError: a parameter is unknown.
        NotSupportedError: it is in shared memory.

    """
    if not isinstance(name, str) or name not in INPUTS:
        raise RequestError(f"there is no input {str(name)[:64]!r}; there are: {', '.join(INPUTS)}")
    if name in earlier:
        raise RequestError(f"input {name!r} is given twice")
    if datatype != INPUTS[name]:
        raise RequestError(f"input {name!r} is {INPUTS[name]}, not {str(datatype)[:64]!r}")
    where = f"input {name!r}"
    _no_shared_memory(parameters, where)
    known_fields(parameters, INPUT_PARAMETERS, where, "input")
    check_content_type(typed(parameters, "content_type", str, "a string"), CONTENT_TYPES[INPUTS[name]], where)
    return name, _shape(name, shape)


def decoded_input(tensor: Tensor, parameters: Mapping[str, Any], of_request: Parameters) -> Tensor:
    """Return an input that was sent as bytes, with those elements decoded that are base64 text.

    An element is base64 text if the content type says so, or if it begins like the base64 of a picture, since no file
    begins so: KServe's and MLServer's clients send the same text over gRPC as in JSON, without a content type.

    Args:
        tensor: the input.
        parameters: its own parameters.
        of_request: the request's parameters, whose content type counts for inputs without one.

    Raises:
        RequestError: an element should be base64 and is not.

    """
    if not isinstance(tensor.elements, list):
        return tensor
    content_type = parameters.get("content_type") or of_request.content_type
    beginnings = b"" if content_type in TEXT_CONTENT_TYPES else BASE64_MAGIC_BYTES
    return from_base64(tensor, beginnings)


def check_request_content_type(parameters: Parameters, inputs: Mapping[str, Tensor]) -> None:
    """Check that a request's content type fits its pictures.

    Raises:
        RequestError: it is one for BYTES, and the pictures are pixels.

    """
    if "encoded" not in inputs:
        check_content_type(parameters.content_type, CONTENT_TYPES["UINT8"], "the request")


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
        RequestError: its name is unknown, or one of its parameters has the wrong type.
        ProtocolFieldError: one of its parameters is unknown.
        NotSupportedError: it is to be written to shared memory.

    """
    if name not in OUTPUTS:
        raise RequestError(f"there is no output {str(name)[:64]!r}; there are: {', '.join(OUTPUTS)}")
    where = f"output {name!r}"
    _no_shared_memory(parameters, where)
    known_fields(parameters, OUTPUT_PARAMETERS, where, "output")
    classes = whole_number(parameters, "classification", "a number of classes")
    binary_data = typed(parameters, "binary_data", bool, "true or false")
    fitting = CONTENT_TYPES["FP32"] if classes is None else LABEL_CONTENT_TYPES
    check_content_type(typed(parameters, "content_type", str, "a string"), fitting, where)
    return RequestedOutput(name, binary if binary_data is None else binary_data, classes)


def _inputs(entries: Any, rest: memoryview, of_request: Parameters) -> dict[str, Tensor]:
    """Return the tensors; the binary ones follow one another in `rest`."""
    tensors: dict[str, Tensor] = {}
    for entry in entries or ():
        fields = known_fields(entry, INPUT_FIELDS, "an input")
        parameters = typed(fields, "parameters", dict, "an object") or {}
        name = fields.get("name")
        datatype = fields.get("datatype")
        name, shape = checked_input(name, datatype, fields.get("shape"), parameters, tensors)
        size = whole_number(parameters, "binary_data_size", "a number of bytes")
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
        tensors[name] = decoded_input(from_binary(name, INPUTS[name], shape, rest[:size]), parameters, of_request)
        rest = rest[size:]
    if len(rest):
        raise RequestError(
            f"{len(rest)} bytes after the JSON belong to no input; give each binary input its binary_data_size"
        )
    check_request_content_type(of_request, tensors)
    return tensors


def _check_model(fields: Mapping[str, Any], manifest: Manifest) -> None:
    """Check that a model and a version which the body names, as KServe's client does, are those of the path."""
    for name, expected in (("model_name", manifest.name), ("model_version", str(manifest.version))):
        given = fields.get(name)
        if given not in (None, "", expected) and not (type(given) is int and str(given) == expected):
            raise RequestError(
                f"{name!r} is {str(given)[:64]!r}, but the path leads to {manifest.name} version {manifest.version}; "
                "leave the field out, or ask for the same in the path"
            )


def _output(entry: Any, *, binary: bool) -> RequestedOutput:
    fields = known_fields(entry, OUTPUT_FIELDS, "an output")
    return requested_output(fields.get("name"), typed(fields, "parameters", dict, "an object") or {}, binary=binary)


def _shape(name: str, shape: Any) -> tuple[int, ...]:
    """Return a checked shape; every dimension is at least 1, so no tensor is empty."""
    if not isinstance(shape, list) or not 1 <= len(shape) <= MAX_DIMENSIONS:
        raise RequestError(f"input {name!r} needs a shape, a list of 1 to {MAX_DIMENSIONS} numbers")
    sizes = [int(size) if isinstance(size, float) and size.is_integer() else size for size in shape]
    if any(type(size) is not int or size < 1 for size in sizes):
        raise RequestError(f"input {name!r}: every dimension of its shape must be a whole number of at least 1")
    return tuple(sizes)


def _no_shared_memory(parameters: Mapping[str, Any], where: str) -> None:
    if any(str(key).startswith("shared_memory") for key in parameters):
        raise NotSupportedError(f"{where}: shared memory is not supported; send the bytes after the JSON")
