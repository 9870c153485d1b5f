"""The JSON of an error, in the form that the path's API uses."""

from typing import Any

__all__ = ["error_body"]


def error_body(path: str, code: str, message: str, request_id: str) -> dict[str, Any]:
    """Return an error's JSON: a text under /v2, as the Open Inference Protocol has it, and an object elsewhere.

    >>> error_body("/v2/models/x", "unknown_model", "there is no model 'x'", "1")
    {'error': "there is no model 'x'"}
    """
    if path == "/v2" or path.startswith("/v2/"):
        return {"error": message}
    return {"error": {"code": code, "message": message, "request_id": request_id}}
