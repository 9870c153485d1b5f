"""The parameters of requests, inputs and outputs, and those of other servers that mean nothing here.

The clients of other servers send some parameters by themselves. FOREIGN lists them, each with its source, and they are
ignored. Any other unknown name is refused with the nearest known one, so a misspelt `alpha` does not go unnoticed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar

import orjson

from service.errors import NotSupportedError, ProtocolFieldError, RequestError

__all__ = [
    "CONTENT_TYPES", "FOREIGN", "INPUT_PARAMETERS", "OUTPUT_PARAMETERS", "TEXT_CONTENT_TYPES", "Foreign", "Parameters",
    "check_content_type", "known_fields", "parse_parameters", "typed", "whole_number",
]  # fmt: skip

T = TypeVar("T")
Level = Literal["request", "input", "output", "repository"]
REQUEST_PARAMETERS = ("alpha", "prior", "timeout", "binary_data_output", "content_type")
INPUT_PARAMETERS = ("binary_data_size", "content_type")
OUTPUT_PARAMETERS = ("binary_data", "classification", "content_type")
UNSUPPORTED = ("priority", "sequence_id", "sequence_start", "sequence_end")  # Triton's; their defaults ask for nothing
TEXT_CONTENT_TYPES = ("base64", "str")  # MLServer's codecs that write a picture as base64 text, over gRPC too
CONTENT_TYPES = {"UINT8": ("np",), "FP32": ("np",), "BYTES": (*TEXT_CONTENT_TYPES, "np")}  # those that fit an input


@dataclass(frozen=True, slots=True)
class Foreign:
    """A parameter that a client of another server sends by itself.

    Args:
        name: its name.
        levels: where clients send it.
        source: the client and its version, or the protocol that defines it.

    """

    name: str
    levels: tuple[Level, ...]
    source: str


FOREIGN = (
    Foreign(
        "triton_enable_empty_final_response",
        ("request",),
        "Triton, decoupled models: perf_analyzer 2.60 puts it into every gRPC request, tritonclient 2.73 into streams",
    ),
    Foreign(
        "binary_data_size",
        ("input",),
        "Triton's binary data extension, which has it over REST only: kserve 0.21 sends it over gRPC too",
    ),
    Foreign(
        "headers",
        ("request", "input", "output"),
        "MLServer 1.7: `mlserver.types.Parameters.headers`, the HTTP headers that a forwarded request came with",
    ),
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a request.

    Args:
        alpha: alpha for all images, a number or an operating point's name.
        prior: the class prior to adjust to, as in classify requests.
        timeout: maximum duration in microseconds; 0 is no limit.
        binary_data_output: whether outputs are sent as bytes unless they say otherwise.
        content_type: how MLServer's clients wrote the elements of inputs that do not say it themselves.

    """

    alpha: float | str | None = None
    prior: str | None = None
    timeout: int = 0
    binary_data_output: bool = False
    content_type: str | None = None


def parse_parameters(fields: Mapping[str, Any]) -> Parameters:
    """Return the parameters of a request.

    Raises:
        RequestError: a value has the wrong type or is out of range.
        ProtocolFieldError: a name is unknown.
        NotSupportedError: the request belongs to a sequence or has a priority.

    """
    for name in UNSUPPORTED:
        if fields.get(name):
            raise NotSupportedError(
                f"parameter {name!r} is not supported: this server has neither sequences nor priorities"
            )
    known_fields(fields, REQUEST_PARAMETERS, "the request", "request", UNSUPPORTED)
    alpha = fields.get("alpha")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float | str | None):
        raise RequestError("parameter 'alpha' is neither a number nor an operating point's name")
    timeout = whole_number(fields, "timeout", "a whole number of microseconds") or 0
    if timeout < 0:
        raise RequestError(f"parameter 'timeout' is {timeout} microseconds; give a positive number, or 0 for no limit")
    content_type = typed(fields, "content_type", str, "a string")
    check_content_type(content_type, CONTENT_TYPES["BYTES"], "the request")
    return Parameters(
        alpha=alpha,
        prior=_prior(fields),
        timeout=timeout,
        binary_data_output=typed(fields, "binary_data_output", bool, "true or false") or False,
        content_type=content_type,
    )


def check_content_type(content_type: str | None, fitting: Sequence[str], where: str) -> None:
    """Check a content type: the name of the codec with which MLServer wrote the elements, or will read them.

    Raises:
        RequestError: it is none of those that fit.

    """
    if content_type is not None and content_type not in fitting:
        raise RequestError(
            f"{where}: content_type {content_type[:64]!r} does not fit; leave it out, or give {' or '.join(fitting)}"
        )


def known_fields(
    value: Any, known: Iterable[str], where: str, level: Level | None = None, unused: Iterable[str] = ()
) -> Mapping[str, Any]:
    """Return a JSON object, after checking that all of its fields are known.

    Args:
        value: the object.
        known: the names of the fields that mean something here.
        where: what the object is, for the message.
        level: whose parameters it has, if it has parameters; those of FOREIGN are taken too.
        unused: further names that are taken.

    Raises:
        RequestError: it is not an object.
        ProtocolFieldError: a field is unknown; the message has the nearest known name.

    """
    names = list(known)
    if not isinstance(value, Mapping):
        raise RequestError(f"{where} is not a JSON object; its fields are: {', '.join(names)}")
    unknown = value.keys() - {*names, *unused}
    if unknown:
        unknown -= {each.name for each in FOREIGN if level in each.levels}
    if unknown:
        name = min(unknown)
        noun = "field" if level is None else "parameter"
        near = get_close_matches(name[:64].casefold(), names, n=1)
        hint = f"did you mean {near[0]!r}? The" if near else "the"
        raise ProtocolFieldError(f"{where}: unknown {noun} {name[:64]!r}; {hint} {noun}s are: {', '.join(names)}")
    return value


def typed(fields: Mapping[str, Any], name: str, kind: type[T], description: str) -> T | None:
    """Return a field's value; None if it is absent or null.

    Raises:
        RequestError: it has another type.

    """
    value = fields.get(name)
    if value is not None and type(value) is not kind:
        raise RequestError(f"{name!r} is not {description}")
    return value


def whole_number(fields: Mapping[str, Any], name: str, description: str) -> int | None:
    """Return a field's value, an integer or a float without a fraction; None if it is absent or null.

    Raises:
        RequestError: it is anything else.

    >>> whole_number({"classification": 3.0}, "classification", "a number of classes")
    3

    """
    value = fields.get(name)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return typed(fields, name, int, description)


def _prior(fields: Mapping[str, Any]) -> str | None:
    """Return the prior as text; an object of weights becomes its JSON."""
    prior = fields.get("prior")
    if isinstance(prior, dict):
        return orjson.dumps(prior).decode()
    return typed(fields, "prior", str, "a string, or an object with a weight for each class")
