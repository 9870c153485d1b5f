"""The Open Inference Protocol under /v2, with Triton's extensions: all of it but infer, which has a file of its own.

Errors are worded by `openinference/dialect.py`. Nothing here is ever compressed: the clients would not unpack it.
"""

from collections.abc import Callable
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from service.context import context_of
from service.errors import NotSupportedError, RequestError
from service.inference.registry import ServedModel
from service.openinference import documentation as docs
from service.openinference.metadata import (
    model_config,
    model_metadata,
    repository_index,
    server_metadata,
    statistics_of,
)
from service.openinference.paths import find_model, missing_extension, refuse_load_parameters
from service.routes import infer
from service.web.bodies import read_body
from service.web.json_response import json_response

__all__ = ["router"]

router = APIRouter(tags=["open inference protocol"])
ANY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Endpoint = Callable[..., Any]


def _of_model(suffix: str, summary: str, responses: docs.Responses) -> Callable[[Endpoint], Endpoint]:
    """Register an endpoint under a model's path, and under the path of one of its versions."""

    def register(endpoint: Endpoint) -> Endpoint:
        for path, where in (("/v2/models/{model}", "a model"), ("/v2/models/{model}/versions/{version}", "a version")):
            router.add_api_route(
                f"{path}{suffix}",
                endpoint,
                methods=["GET"],
                summary=f"{summary} {where}",
                responses=responses,
                openapi_extra=docs.path_parameters(path),
            )
        return endpoint

    return register


@router.get("/v2", summary="Who answers?", responses=docs.answers(docs.SERVER))
@router.get("/v2/", include_in_schema=False)
async def describe_server(request: Request) -> Response:
    """Name, version, and the extensions of the protocol that are here."""
    return json_response(server_metadata(request.app.version))


@router.get("/v2/health/live", summary="Is the process alive?", responses=docs.answers({"live": True}, 503))
async def live(request: Request) -> Response:
    """As `/livez`."""
    context_of(request).check_alive()
    return json_response({"live": True})


@router.get("/v2/health/ready", summary="May work be sent here?", responses=docs.answers({"ready": True}, 503))
async def ready(request: Request) -> Response:
    """As `/readyz`."""
    context_of(request).check_ready()
    return json_response({"ready": True})


@router.get("/v2/models/stats", summary="What have all models done?", responses=docs.answers(docs.STATISTICS))
async def all_statistics(request: Request) -> Response:
    """Counts and nanoseconds of every version of every model since it was loaded, in the process that answers."""
    registry = context_of(request).registry
    return json_response(statistics_of(each for served in registry for each in registry.versions_of(served.name)))


@_of_model("", "Inputs and outputs of", docs.answers(docs.MODEL, 404))
async def describe_model(request: Request) -> Response:
    """Names, datatypes and shapes; -1 is the batch."""
    served = _served(request)
    versions = context_of(request).registry.versions_of(served.name)
    return json_response(model_metadata(served, (each.version for each in versions)))


@_of_model("/ready", "May work be sent to", docs.answers({"name": "cifar10-lt", "ready": True}, 404, 503))
async def model_ready(request: Request) -> Response:
    """200 where it is in service, 404 where it is not."""
    served = _served(request)
    context_of(request).check_ready()
    return json_response({"name": served.name, "ready": True})


@_of_model("/config", "Triton's configuration of", docs.answers(docs.CONFIG, 404))
async def describe_config(request: Request) -> Response:
    """What config.pbtxt would say; the parameters `alpha.NAME` are the operating points in force."""
    served = _served(request)
    context = context_of(request)
    points = context.operating_points.of(served.bundle.manifest)
    return json_response(model_config(served, points, context.settings))


@_of_model("/stats", "What has been done by", docs.answers(docs.STATISTICS, 404))
async def model_statistics(request: Request) -> Response:
    """As `/v2/models/stats`, of one model's versions, or of one version."""
    served = _served(request)
    one = "version" in request.path_params
    return json_response(statistics_of([served] if one else context_of(request).registry.versions_of(served.name)))


@router.post("/v2/repository/index", summary="Which models lie there?", responses=docs.answers(docs.INDEX, 413, 422))
async def index(request: Request) -> Response:
    """Every version of every model, in service or not, and why not; with `{"ready": true}` those in service."""
    asked = await _json_object(request, ("ready",))
    entries = context_of(request).catalog.index()
    return json_response(repository_index(entries, only_ready=asked.get("ready") is True))


@router.post(
    "/v2/repository/models/{model}/load",
    summary="Load a model, or load it again",
    responses=docs.answers(None, 404, 409, 413, 422, 501),
    openapi_extra=docs.path_parameters("{model}"),
    response_class=Response,
)
async def load(request: Request) -> Response:
    """Answers once it is in service; a version that cannot be vouched for replaces none that can, and says why."""
    refuse_load_parameters((await _json_object(request, ("parameters",))).get("parameters"))
    await context_of(request).catalog.load(request.path_params["model"])
    return Response()


@router.post(
    "/v2/repository/models/{model}/unload",
    summary="Take a model out of service",
    responses=docs.answers(None, 404, 413, 422),
    openapi_extra=docs.path_parameters("{model}"),
    response_class=Response,
)
async def unload(request: Request) -> Response:
    """Requests that have it finish with it. No model depends on another, so `unload_dependents` changes nothing."""
    await _json_object(request, ("parameters",))
    await context_of(request).catalog.unload(request.path_params["model"])
    return Response()


@router.api_route("/v2/{rest:path}", methods=ANY_METHOD, include_in_schema=False)
async def elsewhere(request: Request) -> Response:
    """Say what is wrong with a path of the protocol that leads nowhere; without it some would be redirected."""
    path = request.scope["path"]
    if extension := missing_extension(path):
        raise NotSupportedError(f"the extension {extension!r} is not here; GET /v2 lists those that are")
    methods = {method for each in _routes() if each.path_regex.match(path) for method in each.methods or ()}
    if methods:
        raise HTTPException(405, headers={"Allow": ", ".join(sorted(methods))})
    raise HTTPException(404)


def _routes() -> list[APIRoute]:
    """Return the routes that lead somewhere."""
    routes = (*router.routes, *infer.router.routes)
    return [each for each in routes if isinstance(each, APIRoute) and each.endpoint is not elsewhere]


def _served(request: Request) -> ServedModel:
    names = request.path_params
    return find_model(context_of(request).registry, names["model"], names.get("version"))


async def _json_object(request: Request, known: tuple[str, ...]) -> dict[str, Any]:
    """Return a body's fields; clients say nothing of its type, and may send none."""
    body = await read_body(request, context_of(request).settings.max_json_mb)
    if not body:
        return {}
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is not JSON: {error}") from error
    if not isinstance(fields, dict) or fields.keys() - set(known):
        raise RequestError(f"the body is no JSON object with the fields {', '.join(known)}")
    return fields
