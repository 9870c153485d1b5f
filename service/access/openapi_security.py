"""The API keys in the OpenAPI schema: which scope each operation needs, from the rule that enforces it."""

from typing import Any

from service.access.authorization import RequiredScope, required_scope

__all__ = ["describe_access"]

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "`X-API-Key: KEY`"},
}


def describe_access(schema: dict[str, Any]) -> None:
    """Add the security schemes, and to each operation the scope it needs and the answers if the key lacks it.

    Args:
        schema: an OpenAPI 3.1 schema, changed in place; entries that it already has stay.

    """
    schema.setdefault("components", {}).setdefault("securitySchemes", SCHEMES)
    for path, operations in schema.get("paths", {}).items():
        for method, operation in operations.items():
            need = required_scope(method.upper(), path)
            if need == "open":
                operation.setdefault("security", [])
            else:
                operation.setdefault("security", [{name: []} for name in SCHEMES])
                operation.setdefault("x-required-scope", need)
                for status, answer in _refusals(need, path).items():
                    operation["responses"].setdefault(status, answer)


def _refusals(need: RequiredScope, path: str) -> dict[str, Any]:
    shape = "ProtocolError" if path == "/v2" or path.startswith("/v2/") else "ErrorResponse"
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}}
    refusals = {"401": {"description": "The server has API keys, and the request has none of them", "content": content}}
    if need != "any":
        refusals["403"] = {"description": f"The key lacks the scope `{need}`", "content": content}
    return refusals
