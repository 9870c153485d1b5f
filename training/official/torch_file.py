"""A torch file's tensors, numbers and arrays, without running anything that is pickled in it.

`torch.load(weights_only=True)` builds tensors and plain containers and refuses everything else. The authors' files hold
a NumPy array too. NumPy's own functions for that could be allowed, but they trust what they are given: the flags of a
pickled dtype decide whether an array's bytes are taken for pointers. So the names that arrays are pickled under lead
to stand-ins, which take a dtype of plain numbers, a shape and as many bytes, and nothing else.
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
    """What a stand-in was given is no array or number; the message says what it is."""


class _Dtype:
    """Stands in for numpy.dtype: one of plain numbers, in either byte order."""

    def __init__(self, code: object, *_: object) -> None:
        if not (isinstance(code, str) and code in _NUMBERS):
            raise _RefusedError(f"an array of dtype {code!r}; only plain numbers are read")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands in for numpy.ndarray."""

    values: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, content = state
        if not isinstance(kind, _Dtype) or not all(type(side) is int and side >= 0 for side in shape):
            raise _RefusedError("an array whose dtype or shape is none")
        if not isinstance(content, bytes) or len(content) != math.prod(shape) * kind.dtype.itemsize:
            raise _RefusedError(f"an array of shape {tuple(shape)} whose content is not of that size")
        values = np.frombuffer(content, kind.dtype).reshape(shape, order="F" if fortran else "C")
        self.values = values.astype(kind.dtype.newbyteorder("="))


def _empty_array(*_: object) -> _Array:
    return _Array()


def _scalar(kind: object, content: object) -> float | int | bool:
    if not (isinstance(kind, _Dtype) and isinstance(content, bytes) and len(content) == kind.dtype.itemsize):
        raise _RefusedError("a NumPy number that is none")
    number: float | int | bool = np.frombuffer(content, kind.dtype)[0].item()
    return number


_STAND_INS: list[Any] = [
    (_Array, "numpy.ndarray"),
    (_Dtype, "numpy.dtype"),
    *((_empty_array, f"{module}._reconstruct") for module in _MODULES),
    *((_scalar, f"{module}.scalar") for module in _MODULES),
]


def read_torch_file(path: Path) -> dict[Any, Any]:
    """Read what `torch.save` wrote of a dict, in the zip format or the older one; tensors on the CPU.

    Returns:
        The dict; its NumPy arrays as arrays, its NumPy numbers as Python's.

    Raises:
        CheckpointError: no such file, no torch file, no dict, or something besides tensors, arrays, numbers, text and
            containers of them. Nothing of it was run.

    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the .pth file itself")
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _RefusedError as error:
        raise CheckpointError(f"{path}: holds {error}") from error
    except Exception as error:
        raise CheckpointError(f"{path}: {_sentence(error)}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds no dict but a {type(content).__name__}; the authors' files hold a dict")
    return {key: value.values if isinstance(value, _Array) else value for key, value in content.items()}


def _sentence(error: Exception) -> str:
    if asked := re.search(r"GLOBAL (\S+)", str(error)):
        return (
            f"asks for {asked[1]}, which is neither a tensor nor a number and may be code; nothing of it was run. Save "
            "the file again with nothing but tensors, numbers and arrays"
        )
    return f"not a file that torch.save wrote, or damaged ({type(error).__name__})"
