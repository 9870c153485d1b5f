"""Read untrusted JSON into the frozen dataclasses of a manifest: exactly the declared keys, of the declared types.

Python's own reader accepts NaN, duplicate keys and unlimited nesting; a manifest may have none of these. The
dataclasses' annotations are the schema, so it is written down once.
"""

import dataclasses
import json
import math
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from models.errors import ManifestError

__all__ = ["MAX_BYTES", "build", "check_tree", "is_number", "parse"]

MAX_BYTES = 16 * 2**20  # a manifest of 100,000 classes has about 10 MB
MAX_DEPTH = 16
_TYPE_NAMES = {str: "a string", int: "an integer", float: "a number", type(None): "null"}


def parse(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object in `text`.

    Raises:
        ManifestError: too large, not UTF-8 JSON, not an object, NaN or infinity, a key twice, nested too deeply.

    """
    if len(text) > MAX_BYTES:
        raise ManifestError(f"manifest.json is larger than {MAX_BYTES} bytes, the maximum")
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        tree = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ManifestError(f"manifest.json is nested more than {MAX_DEPTH} deep") from error
    except ValueError as error:  # also JSONDecodeError, UnicodeDecodeError and integers of thousands of digits
        raise ManifestError(f"manifest.json is not JSON: {error}") from error
    if not isinstance(tree, dict):
        raise ManifestError("manifest.json is not a JSON object")
    check_tree(tree, "")
    return tree


def check_tree(tree: object, field: str) -> None:
    """Refuse a tree that is nested too deep, or holds non-finite numbers, unprintable text, or a type that JSON lacks.

    Raises:
        ManifestError: with the path of the first such value.

    """
    pending: list[tuple[str, object, int]] = [(field, tree, 0)]
    while pending:
        path, value, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise ManifestError(f"manifest.json: {path[:60]}... is nested more than {MAX_DEPTH} deep")
        if isinstance(value, dict):
            for key in value:
                _check_text(key, path)
            pending += [(f"{path}.{key}".lstrip("."), item, depth + 1) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            pending += [(f"{path}[{index}]", item, depth + 1) for index, item in enumerate(value)]
        elif isinstance(value, str):
            _check_text(value, path)
        elif isinstance(value, bool | None):
            continue
        elif not isinstance(value, int | float):
            raise ManifestError(f"manifest.json: {path} is a {type(value).__name__}, which JSON has no type for")
        elif not abs(value) < math.inf or (isinstance(value, int) and abs(value) > 2**63):
            raise ManifestError(f"manifest.json: {path} is not a finite number")


def build(wanted: Any, value: object, field: str) -> Any:
    """Return `value` as the annotation `wanted`: a dataclass, tuple, dict, Literal, union or scalar.

    An integer passes for a float; a boolean passes for neither.

    Raises:
        ManifestError: with the path of the first value that does not fit.

    """
    origin = get_origin(wanted)
    arguments = get_args(wanted)
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        return _build_dataclass(wanted, value, field)
    if wanted is Any:
        return value
    if origin is Literal:
        if value not in arguments or type(value) is not type(arguments[0]):
            raise _wrong(field, f"must be one of {', '.join(map(repr, arguments))}", value)
        return value
    if origin in (Union, types.UnionType):
        fitting = [option for option in arguments if option is type(value)]
        if not fitting:
            raise _wrong(field, "must be " + " or ".join(_TYPE_NAMES[option] for option in arguments), value)
        return value
    if origin is tuple:
        return _build_tuple(arguments, value, field)
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(field, "must be an object", value)
        return {key: build(arguments[1], item, f"{field}.{key}") for key, item in value.items()}
    if type(value) is wanted:
        return value
    if wanted is float and type(value) is int:
        return float(value)
    raise _wrong(field, f"must be {_TYPE_NAMES[wanted]}", value)


def is_number(text: str) -> bool:
    """Return whether a text reads as a number, so that a name cannot be mistaken for one.

    >>> [is_number(text) for text in ("1.5", "nan", "1e3", "tail")]
    [True, True, True, False]
    """
    try:
        float(text)
    except ValueError:
        return False
    return True


def _build_dataclass(wanted: type, value: object, field: str) -> Any:
    where = f"manifest.json: {field}" if field else "manifest.json"
    if not isinstance(value, dict):
        raise _wrong(field, "must be an object", value)
    hints = get_type_hints(wanted)
    if missing := [key for key in hints if key not in value]:
        raise ManifestError(f"{where}: lacks the key {', '.join(missing)}")
    if unknown := [key for key in value if key not in hints]:
        raise ManifestError(f"{where}: has an unknown key {unknown[0][:60]!r}; format 1 has {', '.join(hints)}")
    prefix = f"{field}." if field else ""
    return wanted(**{key: build(hint, value[key], prefix + key) for key, hint in hints.items()})


def _build_tuple(arguments: tuple[Any, ...], value: object, field: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(field, "must be a list", value)
    if arguments[-1] is not Ellipsis and len(arguments) != len(value):
        raise ManifestError(f"manifest.json: {field} must have {len(arguments)} entries, not {len(value)}")
    return tuple(build(arguments[0], item, f"{field}[{index}]") for index, item in enumerate(value))


def _wrong(field: str, wanted: str, value: object) -> ManifestError:
    shown = json.dumps(value, ensure_ascii=True)
    return ManifestError(f"manifest.json: {field} {wanted}, not {shown if len(shown) <= 60 else shown[:57] + '...'}")


def _check_text(text: object, path: str) -> None:
    if not isinstance(text, str):
        raise ManifestError(f"manifest.json: {path} holds {text!r}, which is not a string")
    if not text.replace("\n", "").replace("\t", "").isprintable():
        raise ManifestError(f"manifest.json: {path} holds a character that cannot be printed: {text[:60]!r}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:60]!r} is there twice")
    return tree


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")
