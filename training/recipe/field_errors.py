"""Turn pydantic's report about a recipe into one sentence: which field, its value, and what would work."""

from collections.abc import Mapping
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError
from pydantic.fields import FieldInfo

__all__ = ["bounds", "describe"]

_OUT_OF_RANGE = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}


def bounds(field: FieldInfo) -> str:
    """Return the range of a number, in words; empty if the field has no bounds.

    >>> from pydantic import Field
    >>> bounds(Field(ge=0, lt=1)), bounds(Field(ge=2, le=9999)), bounds(Field())
    ('at least 0 and below 1', 'at least 2 and at most 9,999', '')

    """
    words = []
    for limit in field.metadata:
        match limit:
            case Ge(ge=value):
                words.append(f"at least {_number(value)}")
            case Gt(gt=value):
                words.append(f"above {_number(value)}")
            case Le(le=value):
                words.append(f"at most {_number(value)}")
            case Lt(lt=value):
                words.append(f"below {_number(value)}")
    return " and ".join(words)


def describe(error: ValidationError, fields: Mapping[str, FieldInfo]) -> str:
    """Return a sentence about the first fault that pydantic found.

    Args:
        error: what pydantic raised.
        fields: all fields by name.

    """
    fault = error.errors(include_url=False)[0]
    name, *within = fault["loc"]
    place = str(name) + "".join(f"[{index}]" for index in within)
    field = fields.get(str(name))
    if field is None:
        return f"a recipe has no field {place!r}"
    if fault["type"] == "missing":
        return f"{place} is missing{_example(field)}"
    if fault["type"] in _OUT_OF_RANGE and not within:
        return f"{place} is {fault['input']!r}; it must be {bounds(field)}"
    expected = fault["msg"].replace("Input should be", "it must be", 1)
    example = "" if fault["type"] in _OUT_OF_RANGE | {"literal_error"} else _example(field)
    return f"{place} is {fault['input']!r}; {expected[0].lower()}{expected[1:]}{example}"


def _example(field: FieldInfo) -> str:
    return "" if field.is_required() else f" (the default is {field.default!r})"


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
