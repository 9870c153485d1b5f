"""The OpenAPI document, finished so that client generators and linters can read it.

FastAPI writes a correct document, but generators stumble over some of its forms, or make unusable names of them. This
module turns those forms into equivalent ones that they all read:

- a union of schemas is `oneOf`; `anyOf` stays for "or null". Some generators merge the members of `anyOf` into one.
- a parameter is never null, because an address cannot say null; it is left out.
- the schema of a body has a name in `components`. Generators name a nameless schema after its place.
- a field of a body has no `default`; its description says it. Generated clients send the defaults, or ask for them, and
  the server refuses a field that does not apply.
- a property has no title. Generators make a class of each title, and number those with the same title.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from service.schemas.tuning import EXAMPLES

__all__ = ["CONTACT", "LICENSE", "SERVERS", "TAGS", "body_schema", "finish_document"]

Schema = dict[str, Any]
LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
CONTACT = {"name": "The operator of this server"}
SERVERS = [{"url": ".", "description": "The folder that this document lies in, whatever the path prefix of a proxy"}]
TAGS = [
    {"name": "classify", "description": "Classify pictures at one or more values of alpha."},
    {"name": "choose alpha", "description": "See what alpha changes, and choose it on your own data."},
    {"name": "operating points", "description": "Named values of alpha: read, set and remove them."},
    {"name": "feedback", "description": "Send the right classes of earlier results, and read what they say."},
    {"name": "models", "description": "The models in service."},
    {"name": "open inference protocol", "description": "KServe's Open Inference Protocol with Triton's extensions."},
    {"name": "health", "description": "Probes and metrics, for the systems that monitor the server."},
]
_COMPONENTS = "#/components/schemas/"
_ONE = ("items", "additionalProperties", "contains", "not")  # keywords whose value is a schema
_SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems")  # a list of schemas
_NAMED = ("properties", "$defs")  # schemas by name
_TOO_SLOW = "The request arrives too slowly"
_HEAD_TOO_LARGE = "The address and the headers are longer than the server allows"
# Every route under /v1 reads its parameters from a form or a JSON body, too; under /v2 they are refused as unknown.
_PARAMETER_ERRORS = {
    "400": "The form cannot be read, or a parameter is unknown",
    "408": _TOO_SLOW,
    "413": "The body is too large",
    "415": "The body is neither a form nor JSON",
    "422": "A parameter is unknown, repeated or invalid",
    "503": "The server is busy",
}
_RETRY_AFTER = {
    "description": "Seconds after which to try again; absent if the time is unknown",
    "schema": {"type": "integer"},
}


def body_schema(kind: Any) -> Schema:
    """Return the schema of a request body.

    Args:
        kind: a pydantic model, or a type alias.

    """
    schema = TypeAdapter(kind).json_schema(ref_template=f"{_COMPONENTS}{{model}}")
    return {"title": kind.__name__, **schema}


def finish_document(document: dict[str, Any]) -> None:
    """Turn what FastAPI wrote into what generators and linters read.

    Args:
        document: an OpenAPI 3.1 document, changed in place.

    Raises:
        ValueError: two different schemas have the same name.

    """
    components = document["components"]["schemas"]
    for path, operation in _operations(document):
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _without_null(parameter["schema"])
        for content in operation.get("requestBody", {}).get("content", {}).values():
            content["schema"] = _named(content["schema"], components)
        _add_answers(path, operation["responses"], has_body="requestBody" in operation)
        for schema in _schemas_of(operation):
            schema.pop("title", None)
            _simplify(schema)
    for name, schema in components.items():
        _simplify(schema)
        if name in EXAMPLES:
            schema["examples"] = [EXAMPLES[name]]  # FastAPI leaves null out of examples
    document["components"]["schemas"] = dict(sorted(components.items()))


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            yield path, operation


def _schemas_of(operation: dict[str, Any]) -> Iterator[Schema]:
    """Yield the schemas that stand in the operation itself."""
    holders = [*operation.get("parameters", ()), *operation.get("requestBody", {}).get("content", {}).values()]
    for answer in operation["responses"].values():
        holders += answer.get("content", {}).values()
    for holder in holders:
        if "schema" in holder:
            yield holder["schema"]


def _without_null(schema: Schema) -> Schema:
    """Return a parameter's schema without `null`."""
    members = [member for member in schema.get("anyOf", ()) if member != {"type": "null"}]
    if len(members) != 1:
        return schema
    return {**members[0], **{key: value for key, value in schema.items() if key != "anyOf"}}


def _without_default(schema: Schema) -> Schema:
    """Return the schema of a body's field with its default in the description."""
    rest = {key: value for key, value in schema.items() if key != "default"}
    if schema.get("default") in (None, "", []):
        return rest
    return rest | {"description": f"{schema.get('description', '')} (default: {schema['default']})".strip()}


def _named(schema: Schema, components: dict[str, Schema]) -> Schema:
    """Move a body's schema to the components if it has a title, and return the reference to it."""
    schema = dict(schema)
    for name, definition in schema.pop("$defs", {}).items():
        _add(name, definition, components)
    if "title" not in schema:
        return schema
    if "properties" in schema:
        schema["properties"] = {name: _without_default(each) for name, each in schema["properties"].items()}
    _add(schema["title"], schema, components)
    return {"$ref": f"{_COMPONENTS}{schema['title']}"}


def _add(name: str, schema: Schema, components: dict[str, Schema]) -> None:
    if components.setdefault(name, schema) != schema:
        raise ValueError(f"two different schemas of the OpenAPI document have the name {name}")


def _simplify(schema: Schema) -> None:
    """Take out the titles below a schema, and make its unions `oneOf`."""
    members = schema.get("anyOf", ())
    if sum(member != {"type": "null"} for member in members) > 1:
        schema["oneOf"] = schema.pop("anyOf")
    for child in _children(schema):
        child.pop("title", None)
        _simplify(child)


def _children(schema: Schema) -> Iterator[Schema]:
    """Yield the schemas one level below."""
    for key in _ONE:
        if isinstance(schema.get(key), dict):
            yield schema[key]
    for key in _SEVERAL:
        yield from schema.get(key, ())
    for key in _NAMED:
        yield from schema.get(key, {}).values()


def _add_answers(path: str, answers: dict[str, Any], *, has_body: bool) -> None:
    """Add what the server itself answers with, before a route is found."""
    shape = "ProtocolError" if path.startswith("/v2") else "ErrorResponse"
    content = {"application/json": {"schema": {"$ref": f"{_COMPONENTS}{shape}"}}}
    answers.setdefault("431", {"description": _HEAD_TOO_LARGE, "content": content})
    if has_body:
        answers.setdefault("408", {"description": _TOO_SLOW, "content": content})
    for status, description in _PARAMETER_ERRORS.items():
        if path.startswith("/v1/") or (status == "400" and path.startswith("/v2") and "/health/" not in path):
            answers.setdefault(status, {"description": description, "content": content})
    if "503" in answers:
        answers["503"].setdefault("headers", {})["Retry-After"] = _RETRY_AFTER
