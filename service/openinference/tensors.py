"""Tensors as the protocol carries them: bytes behind the JSON, numbers or text in it.

Binary: little-endian, row-major, nothing between the elements; an element of BYTES is four bytes of length, then so
many bytes. JSON: a list, flat or nested, row-major. A picture is not UTF-8, so an element of BYTES is base64 in JSON.

Sizes are checked before anything is made of them: nothing here takes more memory than the request did.
"""

import binascii
import math
from base64 import b64decode
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import RequestError, TooManyFilesError

__all__ = ["DTYPES", "Elements", "Tensor", "from_binary", "from_json", "to_binary", "to_json"]

DTYPES = {"UINT8": "<u1", "FP32": "<f4"}  # and BYTES; the model takes and gives nothing else
Elements = NDArray[Any] | list[bytes]
LENGTH_BYTES = 4
MAX_ELEMENTS = 65_536  # of BYTES, taken apart while nobody else is served; each is a picture


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A named tensor.

    Args:
        name: of the input or output.
        datatype: UINT8, FP32 or BYTES.
        shape: of any length; its product is the number of elements.
        elements: an array of that shape, or all elements of BYTES in a row.

    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    elements: Elements


def from_binary(name: str, datatype: str, shape: tuple[int, ...], data: memoryview) -> Tensor:
    """Return the tensor whose elements are these bytes; an array is a view of them.

    Raises:
        RequestError: they are more or fewer than the shape needs.
        TooManyFilesError: far more elements than anybody takes.

    """
    if datatype == "BYTES":
        count = math.prod(shape)
        if count > MAX_ELEMENTS:
            raise TooManyFilesError(f"input {name!r} has {count} elements; send at most {MAX_ELEMENTS} in one request")
        return Tensor(name, datatype, shape, _split(name, data, count))
    dtype = np.dtype(DTYPES[datatype])
    needed = math.prod(shape) * dtype.itemsize
    if len(data) != needed:
        raise RequestError(f"input {name!r} of shape {list(shape)} takes {needed} bytes, not {len(data)}")
    return Tensor(name, datatype, shape, np.frombuffer(data, dtype).reshape(shape))


def from_json(name: str, datatype: str, shape: tuple[int, ...], data: Any) -> Tensor:
    """Return the tensor of a JSON list, flat or nested.

    Raises:
        RequestError: it holds more or fewer elements than the shape says, or other ones than the datatype.

    """
    flat = _flat(name, data, len(shape))
    if len(flat) != math.prod(shape):
        raise RequestError(f"input {name!r} of shape {list(shape)} has {math.prod(shape)} elements, not {len(flat)}")
    kinds = set(map(type, flat))
    if datatype == "BYTES":
        if kinds - {str}:
            raise RequestError(f"input {name!r}: in JSON each element of BYTES is a text, the base64 of its bytes")
        return Tensor(name, datatype, shape, [_decoded(name, index, text) for index, text in enumerate(flat)])
    if kinds - ({int} if datatype == "UINT8" else {int, float}):
        raise RequestError(f"input {name!r}: every element of {datatype} is a number, and of UINT8 a whole one")
    if datatype == "UINT8":
        try:
            return Tensor(name, datatype, shape, np.frombuffer(bytes(flat), np.uint8).reshape(shape))
        except ValueError as error:
            raise RequestError(f"input {name!r}: every element of UINT8 is 0 to 255") from error
    with np.errstate(over="ignore"):  # becomes infinite, which whoever uses it refuses
        return Tensor(name, datatype, shape, np.array(flat, DTYPES[datatype]).reshape(shape))


def to_binary(tensor: Tensor) -> bytes | memoryview:
    """Return the elements as bytes; those of an array are a view of it.

    >>> to_binary(Tensor("x", "BYTES", (2,), [b"a", b""])).hex()
    '010000006100000000'
    """
    if isinstance(tensor.elements, list):
        return b"".join(len(each).to_bytes(LENGTH_BYTES, "little") + each for each in tensor.elements)
    return np.ascontiguousarray(tensor.elements, DTYPES[tensor.datatype]).data.cast("B")


def to_json(tensor: Tensor) -> Any:
    """Return the elements as what orjson writes as a flat list, arrays included; BYTES that we send are UTF-8."""
    if isinstance(tensor.elements, list):
        return [each.decode() for each in tensor.elements]
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
                f"input {name!r}: element {index} of {count} does not fit into the tensor's {len(data)} bytes; each is "
                "its length in 4 bytes, little-endian, then so many bytes"
            )
        elements.append(bytes(data[end : end + length]))
        start = end + length
    if start < len(data):
        raise RequestError(f"input {name!r}: {len(data) - start} bytes are left over after {count} elements")
    return elements


def _flat(name: str, data: Any, depth: int) -> list[Any]:
    """Return a list's elements in a row, whether they come in a row or nested as the shape is."""
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


def _decoded(name: str, index: int, text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(
            f"input {name!r}: element {index} is not base64, as bytes are in JSON; or send the tensor as binary data"
        ) from error
