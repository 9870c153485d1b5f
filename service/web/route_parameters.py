"""A route's parameters: which there are, where a request gives them, and what their texts mean.

A client gives a parameter in the query, in a field of a form, or in a field of a JSON body. Each route has one table of
its parameters. It is made from the signature of the route's function, as the OpenAPI document is. A name that the table
lacks is refused, and so is a parameter that is given twice: the server would have to pass over what the client sent.
"""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.params import Depends, Path
from pydantic import BaseModel, TypeAdapter, ValidationError

from service.errors import ClientError, RequestError
from service.schemas.parameters import TextName
from service.web.bodies import MAX_SHOWN_LENGTH, parse_json, problem, validated

__all__ = ["FORM", "JSON_BODY", "QUERY", "Parameter", "RouteParameters"]

QUERY = "the query"
FORM = "the form"
JSON_BODY = "the JSON body"
MIN_SIMILARITY = 0.5  # of an unknown name and the known one that the message offers; difflib's own default is 0.6


class Parameter(NamedTuple):
    """A parameter of a route.

    Attributes:
        argument: the argument of the function, or the field of the model that the function takes.
        name: what the query and forms call it.
        json_name: what a JSON body calls it.
        is_list: whether it may be repeated.
        is_number: whether its text is a number.
        takes_object: whether its text may be a JSON object.
        adapter: converts a text, or a list of texts.
        in_model: whether it is a field of a model, which checks it later.

    """

    argument: str
    name: str
    json_name: str
    is_list: bool
    is_number: bool
    takes_object: bool
    adapter: TypeAdapter[Any]
    in_model: bool


class RouteParameters:
    """The table of a route's parameters.

    Args:
        function: its arguments are the request, the path's parameters, those of the query, which have a default, and
            pydantic models, whose fields are parameters, too.
        error: what an unknown or repeated parameter raises.

    """

    def __init__(self, function: Callable[..., Any], error: type[ClientError] = RequestError) -> None:
        self._error = error
        self._in_path: set[str] = set()
        self._models: dict[str, type[BaseModel]] = {}
        self._table: dict[str, Parameter] = {}
        hints = get_type_hints(function, include_extras=True)
        for argument in inspect.signature(function).parameters:
            self._add(argument, hints[argument])
        self._texts = {parameter.name: parameter for parameter in self._table.values()}
        self._fields = {parameter.json_name: parameter for parameter in self._table.values()}

    def in_query(self, query: bytes) -> dict[str, Any]:
        """Return the values in a query string, by argument.

        Raises:
            RequestError: the query cannot be read, or a value has the wrong type.
            ClientError: a parameter is unknown or repeated; its class is the table's `error`.

        """
        try:
            pairs = parse_qsl(query.decode(), keep_blank_values=True, errors="strict")
        except UnicodeDecodeError as error:
            raise self._error(f"the query string is not UTF-8: {error}") from error
        except ValueError as error:
            raise self._error(f"the query string cannot be parsed: {error}") from error
        return self.in_texts(pairs, QUERY)

    def in_texts(self, pairs: Iterable[tuple[str, str]], place: str) -> dict[str, Any]:
        """Return the values in a query or a form, by argument; see `in_query`."""
        texts: dict[str, list[str]] = {}
        for name, text in pairs:
            self.check_name(name, place)
            texts.setdefault(name, []).append(text)
        return {self._texts[name].argument: self._converted(name, given, place) for name, given in texts.items()}

    def in_json(self, body: Any) -> dict[str, Any]:
        """Return the values in a JSON body, by argument.

        Raises:
            RequestError: the body is not an object, or has an unknown field or one of the wrong type.

        """
        if not isinstance(body, dict):
            names = ", ".join(self._fields) or "none"
            raise RequestError(f"the body must be a JSON object; its fields are: {names}")
        values = {}
        for name, value in body.items():
            self.check_name(name, JSON_BODY)
            parameter = self._fields[name]
            if isinstance(value, bool):
                raise RequestError(f"{name}: {str(value).lower()} is neither text nor a number")
            values[parameter.argument] = value if parameter.in_model else _validated(parameter.adapter, name, value)
        return values

    def check_name(self, name: str, place: str) -> None:
        """Check that a parameter of this name may be given in `place`.

        Raises:
            ClientError: it may not; the message has the most similar name.

        """
        known = self._fields if place == JSON_BODY else self._texts
        if name in known:
            return
        if name in self._in_path:
            raise self._error(f"parameter {name!r} is in the path; leave it out of {place}")
        shown = f"unknown parameter {name[:MAX_SHOWN_LENGTH]!r} in {place}"
        if not known:
            raise self._error(f"{shown}; this request takes none there")
        similar = difflib.get_close_matches(name[:MAX_SHOWN_LENGTH].lower(), known, 1, MIN_SIMILARITY)
        hint = f"did you mean {similar[0]!r}? " if similar else ""
        raise self._error(f"{shown}; {hint}known: {', '.join(known)}")

    def in_form(self, name: str) -> bool:
        """Return whether a form may have a parameter of this name."""
        return name in self._texts

    def arguments(
        self, in_query: Mapping[str, Any], in_body: Mapping[str, Any] | None = None, body: str = FORM
    ) -> Mapping[str, Any]:
        """Return the function's arguments.

        Args:
            in_query: the values in the query, by argument.
            in_body: the values in the body, by argument.
            body: `FORM` or `JSON_BODY`.

        Raises:
            RequestError: a parameter is in both, or a model's fields are missing or invalid.

        """
        in_body = in_body or {}
        for argument in in_query.keys() & in_body.keys():
            name = self._table[argument].name
            raise self._error(f"parameter {name!r} is given in {QUERY} and in {body}; give it in one of them")
        values = {**in_query, **in_body} if in_body else in_query
        if not self._models:
            return values
        in_json = in_body.keys() if body == JSON_BODY else set()
        shown = {
            argument: parameter.json_name if argument in in_json else parameter.name
            for argument, parameter in self._table.items()
        }
        arguments = {name: value for name, value in values.items() if not self._table[name].in_model}
        for argument, model in self._models.items():
            fields = {name: value for name, value in values.items() if name in model.model_fields}
            arguments[argument] = validated(model, fields, shown)
        return arguments

    @property
    def names(self) -> tuple[str, ...]:
        """The names that a query or a form may have."""
        return tuple(self._texts)

    def _add(self, argument: str, hint: Any) -> None:
        kind, notes = _parts(hint)
        if any(isinstance(note, Path) for note in notes):
            self._in_path.add(argument)
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            self._models[argument] = kind
            for name, field in kind.model_fields.items():
                text_name = next((note.name for note in field.metadata if isinstance(note, TextName)), name)
                adapter: TypeAdapter[Any] = TypeAdapter(field.annotation or str)
                self._put(Parameter(name, text_name, name, *_kinds(field.annotation), adapter, True))
        elif kind is not Request and not any(isinstance(note, Depends) for note in notes):
            name = next((note.alias for note in notes if getattr(note, "alias", None)), argument)
            self._put(Parameter(argument, name, name, *_kinds(kind), TypeAdapter(hint), False))

    def _put(self, parameter: Parameter) -> None:
        if parameter.argument in self._table:
            raise TypeError(f"two parameters of the route are called {parameter.argument}")
        self._table[parameter.argument] = parameter

    def _converted(self, name: str, texts: list[str], place: str) -> Any:
        parameter = self._texts[name]
        if parameter.is_list:
            return _validated(parameter.adapter, name, texts)
        if len(texts) > 1:
            raise self._error(f"parameter {name!r} is given {len(texts)} times in {place}; give it once")
        text = texts[0]
        if parameter.takes_object and text.lstrip().startswith("{"):
            return parse_json(text.encode(), name)
        if parameter.is_number and "_" in text:  # Python and pydantic alone read 1_0 as a number
            raise RequestError(f"{name} must be a number, not {text[:MAX_SHOWN_LENGTH]!r}")
        return _validated(parameter.adapter, name, text)


def _parts(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type and its annotations."""
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        return kind, tuple(notes)
    return hint, ()


def _kinds(kind: Any) -> tuple[bool, bool, bool]:
    """Return whether a type is a list, a number, and whether it may be a JSON object."""
    members = [_parts(member)[0] for member in get_args(kind)] if get_origin(kind) in {UnionType, Union} else [kind]
    members = [member for member in members if member is not NoneType]
    origins = {get_origin(member) for member in members}
    return list in origins, set(members) <= {int, float}, dict in origins


def _validated(adapter: TypeAdapter[Any], name: str, value: Any) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise RequestError(problem(error, name)) from error
