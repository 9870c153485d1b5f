"""The Open Inference Protocol under /v2 with Triton's extensions, except infer (`infer.py`).

These routes never compress an answer, because the protocol's clients do not decompress it.
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from typing_extensions import override

from service.context import Context, context_of
from service.errors import NotSupportedError, ProtocolQueryError
from service.inference.registry import Registry, ServedModel
from service.openinference import documentation as docs
from service.openinference.metadata import (
    model_config,
    model_metadata,
    model_names,
    repository_index,
    server_metadata,
    statistics_of,
)
from service.openinference.parameters import known_fields, typed
from service.openinference.paths import (
    check_unload_parameters,
    find_model,
    missing_extension,
    refuse_load_parameters,
)
from service.routes import infer
from service.schemas.openinference import (
    ModelConfig,
    ModelMetadata,
    ModelNames,
    ModelReady,
    ModelStatistics,
    RepositoryEntry,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
from service.web.bodies import parse_json, read_body
from service.web.json_response import json_response
from service.web.route_parameters import RouteParameters

__all__ = ["router"]

ANY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Endpoint = Callable[..., Any]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
UNCHECKED = {"/v2/health/live", "/v2/health/ready", "/v2/{rest:path}"}


class _ProtocolRoute(APIRoute):
    """A route without a query. Probes may have one, and an unknown path has its own error."""

    @override
    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        parameters = RouteParameters(lambda: None, ProtocolQueryError)

        async def handle_without_query(request: Request) -> Response:
            if self.path not in UNCHECKED:
                parameters.in_query(request.scope["query_string"])
            return await handle(request)

        return handle_without_query


router = APIRouter(tags=["open inference protocol"], route_class=_ProtocolRoute)


def _of_model(suffix: str, name: str, summary: str, responses: docs.Responses) -> Callable[[Endpoint], Endpoint]:
    """Register an endpoint under the path of a model and under the path of a version.

    Args:
        suffix: the end of both paths.
        name: the operations' names, `NAME_model` and `NAME_model_version`.
        summary: the beginning of both summaries.
        responses: what both answer.

    """

    def register(endpoint: Endpoint) -> Endpoint:
        for path, noun in (("/v2/models/{model}", "model"), ("/v2/models/{model}/versions/{version}", "version")):
            router.add_api_route(
                f"{path}{suffix}",
                endpoint,
                name=f"{name}_model" if noun == "model" else f"{name}_model_version",
                methods=["GET"],
                summary=f"{summary} a {noun}",
                responses=responses,
                openapi_extra=docs.path_parameters(path),
            )
        return endpoint

    return register


@router.get(
    "/v2",
    name="read_server_metadata",
    summary="Describe the server",
    responses=docs.answers(ServerMetadata, docs.SERVER),
)
@router.get("/v2/", include_in_schema=False)
async def describe_server(request: Request) -> Response:
    """Get the server's name, version, and the extensions of the protocol that it supports."""
    return json_response(server_metadata(request.app.version))


@router.get(
    "/v2/health/live",
    name="check_server_live",
    summary="Is the process alive?",
    responses=docs.answers(ServerLive, {"live": True}, 503),
)
async def live(request: Request) -> Response:
    """The protocol's form of `/livez`."""
    context_of(request).check_alive()
    return json_response({"live": True})


@router.get(
    "/v2/health/ready",
    name="check_server_ready",
    summary="Is the server ready for requests?",
    responses=docs.answers(ServerReady, {"ready": True}, 503),
)
async def ready(request: Request) -> Response:
    """The protocol's form of `/readyz`."""
    context_of(request).check_ready()
    return json_response({"ready": True})


@router.get(
    "/v2/models",
    name="list_model_names",
    summary="List the models in service",
    responses=docs.answers(ModelNames, docs.MODELS),
)
@router.get("/v2/models/", include_in_schema=False)
async def list_models(request: Request) -> Response:
    """Get the models' names, as KServe's runtimes do. `POST /v2/repository/index` also has versions and states."""
    return json_response(model_names(context_of(request).registry))


@router.get(
    "/v2/models/stats",
    name="read_statistics",
    summary="Statistics of all models",
    responses=docs.answers(ModelStatistics, docs.STATISTICS),
)
async def all_statistics(request: Request) -> Response:
    """Get counts and nanoseconds of every loaded version since it was loaded, in the process that answers."""
    registry = context_of(request).registry
    return json_response(statistics_of(version for served in registry for version in registry.versions_of(served.name)))


@_of_model("", "read_metadata_of", "Describe the inputs and outputs of", docs.answers(ModelMetadata, docs.MODEL, 404))
async def describe_model(request: Request) -> Response:
    """Get names, datatypes and shapes; -1 stands for the batch dimension."""
    registry = context_of(request).registry
    served = _served(request, registry)
    versions = (version.version for version in registry.versions_of(served.name))
    return json_response(model_metadata(served, versions))


@_of_model(
    "/ready",
    "check_readiness_of",
    "Check the readiness of",
    docs.answers(ModelReady, {"name": "cifar10-lt", "ready": True}, 404, 503),
)
async def model_ready(request: Request) -> Response:
    """200 if it is in service, 404 if not."""
    context = context_of(request)
    served = _served(request, context.registry)
    context.check_ready()
    return json_response({"name": served.name, "ready": True})


@_of_model("/config", "read_config_of", "Triton's configuration of", docs.answers(ModelConfig, docs.CONFIG, 404))
async def describe_config(request: Request) -> Response:
    """Get what config.pbtxt would say. The parameters `alpha.NAME` are the operating points in force."""
    context = context_of(request)
    served = _served(request, context.registry)
    points = context.operating_points.of(served.bundle.manifest)
    return json_response(model_config(served, points, context.settings))


@_of_model("/stats", "read_statistics_of", "Statistics of", docs.answers(ModelStatistics, docs.STATISTICS, 404))
async def model_statistics(request: Request) -> Response:
    """Get what `/v2/models/stats` has for the versions of one model, or for one version."""
    registry = context_of(request).registry
    served = _served(request, registry)
    versions = [served] if "version" in request.path_params else registry.versions_of(served.name)
    return json_response(statistics_of(versions))


@router.post(
    "/v2/repository/index",
    name="list_repository",
    summary="List the models folder",
    responses=docs.answers(list[RepositoryEntry], docs.INDEX, 413, 422),
)
async def index(request: Request) -> Response:
    """List all versions and why a version is not in service. With `{"ready": true}`, list those in service."""
    context = context_of(request)
    fields = await _json_object(request, context, ("ready",))
    ready = typed(fields, "ready", bool, "true or false") or False
    return json_response(repository_index(context.catalog.index(), only_ready=ready))


@router.post(
    "/v2/repository/models/{model}/load",
    name="load_model",
    summary="Load or reload a model",
    responses=docs.answers(None, None, 404, 409, 413, 422, 501),
    openapi_extra=docs.path_parameters("{model}"),
    response_class=Response,
)
async def load(request: Request) -> Response:
    """Wait until the model is in service. If it cannot be loaded, the error says why, and nothing is replaced."""
    context = context_of(request)
    fields = await _json_object(request, context, ("parameters",))
    refuse_load_parameters(typed(fields, "parameters", dict, "an object"))
    await context.catalog.load(request.path_params["model"])
    return Response()


@router.post(
    "/v2/repository/models/{model}/unload",
    name="unload_model",
    summary="Take a model out of service",
    responses=docs.answers(None, None, 404, 413, 422),
    openapi_extra=docs.path_parameters("{model}"),
    response_class=Response,
)
async def unload(request: Request) -> Response:
    """Requests in progress still finish. Models do not depend on each other, so `unload_dependents` has no effect."""
    context = context_of(request)
    fields = await _json_object(request, context, ("parameters",))
    check_unload_parameters(typed(fields, "parameters", dict, "an object") or {})
    await context.catalog.unload(request.path_params["model"])
    return Response()


@router.api_route("/v2/{rest:path}", methods=ANY_METHOD, include_in_schema=False)
async def unknown_path(request: Request) -> Response:
    """Raise the right error for a path that has no route; without this one, some paths would be redirected."""
    path = request.scope["path"]
    if extension := missing_extension(path):
        raise NotSupportedError(f"the extension {extension!r} is not supported; GET /v2 lists those that are")
    methods = {method for route in _routes() if route.path_regex.match(path) for method in route.methods or ()}
    if methods:
        raise HTTPException(405, headers={"Allow": ", ".join(sorted(methods))})
    raise HTTPException(404)


def _routes() -> list[APIRoute]:
    """Return the routes that answer, all but `unknown_path`."""
    routes = (*router.routes, *infer.router.routes)
    return [route for route in routes if isinstance(route, APIRoute) and route.endpoint is not unknown_path]


def _served(request: Request, registry: Registry) -> ServedModel:
    names = request.path_params
    return find_model(registry, names["model"], names.get("version"))


async def _json_object(request: Request, context: Context, known: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the fields of a body, which may be empty; the protocol's clients send no content type."""
    body = await read_body(request, context.settings.max_json_mb, context.body_budget)
    if not body:
        return {}
    return known_fields(parse_json(body), known, "the body")
