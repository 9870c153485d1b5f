"""Direct routes: routes on the hot path that FastAPI documents but does not run.

FastAPI's layers (middleware, dependencies, validation by pydantic) take a good part of the time that a small network
takes to answer. `RequestEnvelope` therefore calls a direct route itself, with its parameters parsed from the path and
the query. FastAPI still makes the OpenAPI document from the function's signature, so document and behaviour cannot
disagree.
"""

from service.web.parameter_route import QueryRoute

__all__ = ["DirectRoute"]


class DirectRoute(QueryRoute):
    """A route that the request envelope calls."""
