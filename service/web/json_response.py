"""JSON responses, and the forms that times and operating points take in them."""

from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import Response

from service.storage.operating_points import PointInForce

__all__ = ["iso_time", "json_response", "operating_point_fields"]


def json_response(body: Any) -> Response:
    """Return a response with this body as JSON."""
    return Response(orjson.dumps(body), media_type="application/json")


def iso_time(seconds: float) -> str:
    """Return a time, in seconds since 1970, as ISO 8601 text that the query parameter `since` accepts.

    >>> iso_time(1795435200.5)
    '2026-11-23T12:00:00.500Z'
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def operating_point_fields(point: PointInForce) -> dict[str, Any]:
    """Return an operating point as the API shows it."""
    return point._asdict() | {"since": None if point.since is None else iso_time(point.since)}
