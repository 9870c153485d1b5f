"""Tensors as the protocol transfers them: as bytes after the JSON, or as a list inside it.

Binary: little-endian, row-major, without padding. An element of BYTES is its length in four bytes, followed by that
many bytes. JSON: a list, flat or nested, row-major, in which an element of BYTES is base64 (a picture is not UTF-8).

Sizes are checked before anything is allocated, so reading a tensor never takes more memory than the request itself.
"""

import binascii
import math
from base64 import b64decode
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import RequestError, TooManyFilesError

__all__ = ["DTYPES", "Elements", "Tensor", "from_base64", "from_binary", "from_json", "to_binary", "to_json"]

DTYPES = {"UINT8": "<u1", "FP32": "<f4"}  # BYTES has none; models use no other datatypes
Elements = NDArray[Any] | list[bytes]
LENGTH_BYTES = 4
MAX_ELEMENTS = 65_536  # of BYTES, each a picture; splitting more would block the event loop for too long


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A named tensor.

    Args:
        name: the name of the input or output.
        datatype: UINT8, FP32 or BYTES.
        shape: the dimensions; their product is the number of elements.
        elements: an array of that shape, or a flat list of the elements of BYTES.

    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    elements: Elements


def from_binary(name: str, datatype: str, shape: tuple[int, ...], data: memoryview) -> Tensor:
    """Return the tensor with these bytes as its elements; an array is a view of them.

    Raises:
        RequestError: the number of bytes does not match the shape.
        TooManyFilesError: there are more than MAX_ELEMENTS elements of BYTES.

    """
    if datatype == "BYTES":
        count = math.prod(shape)
        if count > MAX_ELEMENTS:
            raise TooManyFilesError(f"input {name!r} has {count} elements; send at most {MAX_ELEMENTS} in one request")
        return Tensor(name, datatype, shape, _split(name, data, count))
    dtype = np.dtype(DTYPES[datatype])
    needed = math.prod(shape) * dtype.itemsize
    if len(data) != needed:
        raise RequestError(f"input {name!r} of shape {list(shape)} needs {needed} bytes, not {len(data)}")
    return Tensor(name, datatype, shape, np.frombuffer(data, dtype).reshape(shape))


def from_json(name: str, datatype: str, shape: tuple[int, ...], data: Any) -> Tensor:
    """Return the tensor with the elements of a JSON list, flat or nested.

    Raises:
        RequestError: the number of elements does not match the shape, or their type not the datatype.

    """
    flat = _flat(name, data, len(shape))
    if len(flat) != math.prod(shape):
        raise RequestError(f"input {name!r} of shape {list(shape)} needs {math.prod(shape)} elements, not {len(flat)}")
    kinds = set(map(type, flat))
    if datatype == "BYTES":
        if kinds - {str}:
            raise RequestError(
                f"input {name!r}: in JSON every element of BYTES must be a string, the base64 of its bytes"
            )
        return Tensor(name, datatype, shape, [_decoded(name, index, text) for index, text in enumerate(flat)])
    if datatype == "UINT8" and float in kinds:
        flat = [int(each) if type(each) is float and each.is_integer() else each for each in flat]
        kinds = set(map(type, flat))
    if kinds - ({int} if datatype == "UINT8" else {int, float}):
        number = "a whole number" if datatype == "UINT8" else "a number"
        raise RequestError(f"input {name!r}: every element of {datatype} must be {number}")
    if datatype == "UINT8":
        try:
            return Tensor(name, datatype, shape, np.frombuffer(bytes(flat), np.uint8).reshape(shape))
        except ValueError as error:
            raise RequestError(f"input {name!r}: every element of UINT8 must be from 0 to 255") from error
    with np.errstate(over="ignore"):  # an overflow becomes infinity, which the check of alpha refuses
        return Tensor(name, datatype, shape, np.array(flat, DTYPES[datatype]).reshape(shape))


def from_base64(tensor: Tensor, beginnings: bytes | tuple[bytes, ...] = b"") -> Tensor:
    """Return a tensor of BYTES with its elements decoded.

    Args:
        tensor: the tensor.
        beginnings: decode only the elements that begin so.

    Raises:
        RequestError: an element is not base64.

    >>> from_base64(Tensor("x", "BYTES", (2,), [b"YQ==", b"b"]), (b"YQ",)).elements
    [b'a', b'b']

    """
    elements = [
        _decoded(tensor.name, index, element) if element.startswith(beginnings) else element
        for index, element in enumerate(tensor.elements)
    ]
    return replace(tensor, elements=elements)


def to_binary(tensor: Tensor) -> bytes | memoryview:
    """Return the elements as bytes; for an array, a view of it.

    >>> to_binary(Tensor("x", "BYTES", (2,), [b"a", b""])).hex()
    '010000006100000000'
    """
    if isinstance(tensor.elements, list):
        return b"".join(len(element).to_bytes(LENGTH_BYTES, "little") + element for element in tensor.elements)
    return np.ascontiguousarray(tensor.elements, DTYPES[tensor.datatype]).data.cast("B")


def to_json(tensor: Tensor) -> Any:
    """Return the elements in a form that orjson writes as a flat list; the BYTES in responses are UTF-8."""
    if isinstance(tensor.elements, list):
        return [element.decode() for element in tensor.elements]
    return np.ascontiguousarray(tensor.elements).ravel()


def _split(name: str, data: memoryview, count: int) -> list[bytes]:
    """Return the elements of a binary tensor of BYTES."""
    elements = []
    start = 0
    for index in range(count):
        end = start + LENGTH_BYTES
        length = int.from_bytes(data[start:end], "little")
        if end + length > len(data):
            raise RequestError(
                f"input {name!r}: element {index} of {count} does not fit into the tensor's {len(data)} bytes; an "
                "element is its length in 4 bytes, little-endian, followed by that many bytes"
            )
        elements.append(bytes(data[end : end + length]))
        start = end + length
    if start < len(data):
        raise RequestError(f"input {name!r}: {len(data) - start} bytes are left over after {count} elements")
    return elements


def _flat(name: str, data: Any, depth: int) -> list[Any]:
    """Return a list's elements as a flat list, whether it is flat or nested like the shape."""
    if not isinstance(data, list):
        raise RequestError(f"input {name!r} has no data; give a list, or binary data and its binary_data_size")
    flat: list[Any] = data
    for _ in range(depth):
        kinds = set(map(type, flat))
        if list not in kinds:
            break
        if len(kinds) > 1:
            raise RequestError(f"input {name!r}: the data mixes lists and elements")
        flat = list(chain.from_iterable(flat))
    return flat


def _decoded(name: str, index: int, text: str | bytes) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(
            f"input {name!r}: element {index} is not base64; encode it, or send the tensor as binary data"
        ) from error
