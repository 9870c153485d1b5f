"""What model.onnx takes and gives, read without the onnx package and without running anything.

The service must know before it hands a stranger's file to an inference engine that the file has the contract's inputs
and outputs and reads no other file (ONNX tensors may name any path as "external data"). That takes a few of ONNX's
protobuf fields, so this is a small reader of protobuf's wire format; field numbers are those of onnx.proto3.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from models.errors import BundleGraphError, BundlePathError

__all__ = ["GraphSignature", "TensorSignature", "check_contract", "read_signature"]

MAX_DEPTH = 16  # graphs inside nodes (If, Loop) inside graphs; two or three is already rare

_VARINT = 0
_FIXED64 = 1
_BYTES = 2
_FIXED32 = 5
_ELEMENT_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16", 11: "float64"}
_EXTERNAL = 1  # TensorProto.DataLocation

# Which fields of each message hold which message; everything else is skipped.
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
}

Field = tuple[int, int | memoryview]  # field number; a varint's value or a length-delimited field's bytes


@dataclass(frozen=True, slots=True)
class TensorSignature:
    """One input or output. A dimension the graph leaves open is None; a shape of None is an unknown rank."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        """Return e.g. `logits float32 [?, 10]`."""
        shape = "of unknown rank" if self.shape is None else [("?" if size is None else size) for size in self.shape]
        return f"{self.name} {self.dtype} {shape}".replace("'", "")


@dataclass(frozen=True, slots=True)
class GraphSignature:
    """The inputs and outputs of a graph, in its order."""

    inputs: tuple[TensorSignature, ...]
    outputs: tuple[TensorSignature, ...]


def read_signature(data: bytes) -> GraphSignature:
    """Read the inputs and outputs of an ONNX model.

    Raises:
        BundleGraphError: the bytes are not an ONNX model.
        BundlePathError: a tensor lies in another file.

    """
    model = memoryview(data)
    graph = _single(model, 7, "graph")
    if graph is None:
        raise BundleGraphError("model.onnx holds no graph; it is not an ONNX model")
    _refuse_external_data(model, "model", 0)
    return GraphSignature(inputs=_tensors(graph, 11), outputs=_tensors(graph, 12))


def check_contract(signature: GraphSignature, *, height: int, width: int, num_classes: int, num_heads: int) -> None:
    """Compare a signature with the contract: `images` uint8 [B, H, W, 3] -> `logits` [B, C], `head_cosine` [B, K].

    Raises:
        BundleGraphError: they differ; the sentence has both.

    """
    wanted = GraphSignature(
        inputs=(TensorSignature("images", "uint8", (None, height, width, 3)),),
        outputs=(
            TensorSignature("head_cosine", "float32", (None, num_heads)),
            TensorSignature("logits", "float32", (None, num_classes)),
        ),
    )
    for side in ("inputs", "outputs"):
        found = sorted(getattr(signature, side), key=lambda tensor: str(tensor.name))
        if tuple(found) != getattr(wanted, side):
            raise BundleGraphError(
                f"model.onnx has {side} {', '.join(map(str, found)) or 'none'}; "
                f"the manifest and the format want {', '.join(map(str, getattr(wanted, side)))}"
            )


def _tensors(graph: memoryview, number: int) -> tuple[TensorSignature, ...]:
    return tuple(_tensor(value) for field, value in _fields(graph) if field == number and isinstance(value, memoryview))


def _tensor(value_info: memoryview) -> TensorSignature:
    """ValueInfoProto: name 1, type 2 -> TypeProto: tensor_type 1 -> elem_type 1, shape 2 -> dim 1."""
    name = _text(_single(value_info, 1, "name") or memoryview(b""))
    kind = _single(value_info, 2, "type")
    tensor = None if kind is None else _single(kind, 1, "tensor type")
    if tensor is None:
        return TensorSignature(name, "no tensor", None)
    codes = [value for field, value in _fields(tensor) if field == 1 and isinstance(value, int)]
    dtype = _ELEMENT_TYPES.get(codes[-1], f"type {codes[-1]}") if codes else "no type"
    shape = _single(tensor, 2, "shape")
    if shape is None:
        return TensorSignature(name, dtype, None)
    sizes = (_size(dim) for field, dim in _fields(shape) if field == 1 and isinstance(dim, memoryview))
    return TensorSignature(name, dtype, tuple(sizes))


def _size(dim: memoryview) -> int | None:
    """TensorShapeProto.Dimension: dim_value 1, or dim_param 2 (a name), or neither; the last one written counts."""
    size = None
    for field, value in _fields(dim):
        if field == 1 and isinstance(value, int):
            size = value
        elif field == 2:
            size = None
    return size


def _refuse_external_data(message: memoryview, kind: str, depth: int) -> None:
    if depth > MAX_DEPTH * 3:  # graph -> node -> attribute is three messages
        raise BundleGraphError(f"model.onnx nests graphs more than {MAX_DEPTH} deep")
    children = _CHILDREN.get(kind, {})
    for field, value in _fields(message):
        if kind == "tensor":
            # TensorProto: external_data 13, data_location 14
            if field == 13 or (field == 14 and value == _EXTERNAL):
                name = _text(_single(message, 8, "name") or memoryview(b""))
                raise BundlePathError(
                    f"model.onnx keeps tensor {name!r} in another file (external data); export it as one file"
                )
        elif field in children and isinstance(value, memoryview):
            _refuse_external_data(value, children[field], depth + 1)


def _single(message: memoryview, number: int, what: str) -> memoryview | None:
    """Return a field that may be there once. Protobuf would merge two; no exporter writes two."""
    found = [value for field, value in _fields(message) if field == number]
    if len(found) > 1:
        raise BundleGraphError(f"model.onnx is damaged: a {what} is there twice")
    if found and not isinstance(found[0], memoryview):
        raise BundleGraphError(f"model.onnx is damaged: a {what} is a number")
    return found[0] if found else None  # type: ignore[return-value]  # narrowed above


def _text(value: memoryview) -> str:
    try:
        return bytes(value[:200]).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleGraphError("model.onnx is damaged: a name is not UTF-8") from error


def _fields(message: memoryview) -> Iterator[Field]:
    """Walk one message's fields; numbers of fixed width are skipped, since nothing here needs them."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        field = tag >> 3
        wire_type = tag & 7
        if field == 0:
            raise BundleGraphError("model.onnx is not an ONNX model: a field has number 0")
        if wire_type == _VARINT:
            value, position = _varint(message, position)
            yield field, value
            continue
        if wire_type == _BYTES:
            length, position = _varint(message, position)
        elif wire_type in (_FIXED64, _FIXED32):
            length = 8 if wire_type == _FIXED64 else 4
        else:
            raise BundleGraphError(f"model.onnx is not an ONNX model: a field has wire type {wire_type}")
        end = position + length
        if end > len(message):
            raise BundleGraphError(f"model.onnx is truncated: a field ends {end - len(message)} bytes behind the end")
        if wire_type == _BYTES:
            yield field, message[position:end]
        position = end


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return the base-128 number at `position` and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise BundleGraphError("model.onnx is truncated: it ends inside a number")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise BundleGraphError("model.onnx is not an ONNX model: a number is longer than 10 bytes")
