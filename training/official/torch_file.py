"""Reading the tensors, numbers and arrays of a torch file without running pickled code.

`torch.load(weights_only=True)` builds tensors and plain containers and refuses everything else. The authors' files
also contain a NumPy array. NumPy's own unpickling functions are unsafe: the flags of a pickled dtype decide whether the
bytes of an array are used as pointers. This module therefore replaces them by stand-ins that accept only a numeric
dtype, a shape, and as many bytes as the shape needs.
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.errors import CheckpointError

__all__ = ["read_torch_file"]

_NUMBERS = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")  # NumPy 1 and 2


class _RefusedError(Exception):
    """A stand-in was given something other than a numeric array or number; the message describes it."""


class _Dtype:
    """A stand-in for numpy.dtype that accepts numeric types in either byte order."""

    def __init__(self, code: object, *_: object) -> None:
        if not (isinstance(code, str) and code in _NUMBERS):
            raise _RefusedError(f"an array of dtype {code!r}; only numeric arrays are allowed")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """A stand-in for numpy.ndarray."""

    values: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, content = state
        if not isinstance(kind, _Dtype) or not all(type(side) is int and side >= 0 for side in shape):
            raise _RefusedError("an array with an invalid dtype or shape")
        if not isinstance(content, bytes) or len(content) != math.prod(shape) * kind.dtype.itemsize:
            raise _RefusedError(f"an array of shape {tuple(shape)} whose content has another size")
        values = np.frombuffer(content, kind.dtype).reshape(shape, order="F" if fortran else "C")
        self.values = values.astype(kind.dtype.newbyteorder("="))


def _empty_array(*_: object) -> _Array:
    return _Array()


def _scalar(kind: object, content: object) -> float | int | bool:
    if not (isinstance(kind, _Dtype) and isinstance(content, bytes) and len(content) == kind.dtype.itemsize):
        raise _RefusedError("an invalid NumPy number")
    number: float | int | bool = np.frombuffer(content, kind.dtype)[0].item()
    return number


_STAND_INS: list[Any] = [
    (_Array, "numpy.ndarray"),
    (_Dtype, "numpy.dtype"),
    *((_empty_array, f"{module}._reconstruct") for module in _MODULES),
    *((_scalar, f"{module}.scalar") for module in _MODULES),
]


def read_torch_file(path: Path) -> dict[Any, Any]:
    """Read a dict that `torch.save` wrote, in the zip format or the older one.

    Returns:
        The dict, with tensors on the CPU, and NumPy numbers as Python numbers.

    Raises:
        CheckpointError: the file is missing, is not a torch file, does not contain a dict, or contains something other
            than tensors, arrays, numbers, text and containers of these. No pickled code has run.

    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; name the .pth file")
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _RefusedError as error:
        raise CheckpointError(f"{path}: contains {error}") from error
    except Exception as error:
        raise CheckpointError(f"{path}: {_describe(error)}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: contains a {type(content).__name__}; the authors' files contain a dict")
    return {key: value.values if isinstance(value, _Array) else value for key, value in content.items()}


def _describe(error: Exception) -> str:
    if asked := re.search(r"GLOBAL (\S+)", str(error)):
        return (
            f"contains {asked[1]}, which may be code; nothing was run. Save the file again with only tensors, numbers "
            "and arrays"
        )
    return f"not a torch file, or damaged ({type(error).__name__})"
