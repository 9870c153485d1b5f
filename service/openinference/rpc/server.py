"""The gRPC server, which runs in the event loop of the HTTP server, on a separate port, if the settings name one.

Messages may arrive compressed. grpcio stops decompressing at the size limit (1.85 does, and a test checks it).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc

from models.errors import LongtailError
from service.access.authorization import RequiredScope
from service.context import Context
from service.errors import (
    ClientDisconnectedError,
    ErrorAnswer,
    ServiceError,
    UnknownModelError,
    UnknownVersionError,
    describe,
)
from service.openinference.inference import count_request, infer_outputs
from service.openinference.metadata import (
    model_config,
    model_metadata,
    repository_index,
    server_metadata,
    statistics_of,
)
from service.openinference.paths import (
    check_unload_parameters,
    find_model,
    refuse_load_parameters,
    refuse_repository_name,
)
from service.openinference.rpc.health import health_handler
from service.openinference.rpc.infer_messages import parameters_of, read_request, write_response
from service.openinference.rpc.messages import SERVICE, from_dict, message_class
from service.openinference.rpc.reflection import reflection_handlers
from service.openinference.rpc.streams import MAX_STREAMS, Streams

__all__ = ["start"]

log = logging.getLogger("longtail.rpc")
Method = Callable[[Context, Any], Awaitable[Any]]
MAX_OVERHEAD_BYTES = 65_536  # of a message besides its tensors
REQUIRED_SCOPES: dict[str, RequiredScope] = {
    "ServerLive": "open",
    "ServerReady": "open",
    "RepositoryModelLoad": "admin",
    "RepositoryModelUnload": "admin",
}  # all other methods: predict
STATUS_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}  # by HTTP status; every other status becomes INVALID_ARGUMENT


async def start(context: Context, version: str) -> grpc.aio.Server:
    """Start the server on the host and the gRPC port of the settings.

    Args:
        context: the service.
        version: the server's version, for its metadata.

    Raises:
        OSError: the port is taken.

    """
    settings = context.settings
    methods: dict[str, Method] = {**METHODS, "ServerMetadata": lambda *_: _server_metadata(version)}
    server = grpc.aio.server(
        maximum_concurrent_rpcs=min(settings.max_connections, settings.max_pending_images) + MAX_STREAMS,
        options=[
            ("grpc.max_receive_message_length", settings.max_body_bytes + MAX_OVERHEAD_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", int(settings.workers > 1)),  # otherwise a port that is taken would be shared silently
        ],
    )
    handlers = {name: _handler(context, name, method) for name, method in methods.items()}
    streams = Streams()
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(SERVICE, handlers),
            health_handler(context, streams),
            *reflection_handlers(context, streams),
        )
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        server.add_insecure_port(f"{host}:{settings.grpc_port}")
    except RuntimeError as error:
        raise OSError(f"gRPC cannot listen on {host}:{settings.grpc_port}: {error}") from error
    await server.start()
    log.info("gRPC on %s:%d", host, settings.grpc_port)
    return server


def _handler(context: Context, name: str, method: Method) -> Any:
    """Return the handler of a method: it checks keys, maps errors to status codes and counts calls."""
    scope = REQUIRED_SCOPES.get(name, "predict")

    async def call(message: Any, call_context: grpc.aio.ServicerContext) -> Any:
        started = time.perf_counter()
        failure: ErrorAnswer | None = None
        try:
            context.access.check(scope, _headers(call_context))
            return await method(context, message)
        except (ServiceError, LongtailError) as error:
            failure = describe(error)
        except asyncio.CancelledError:
            failure = describe(ClientDisconnectedError())
            raise
        except Exception as error:
            log.exception("%s failed", name)
            failure = describe(error)
        finally:
            if failure is not None:
                context.metrics.errors.labels(failure.code).inc()
            status = 200 if failure is None else failure.status
            context.metrics.count_answer(f"/{SERVICE}/{name}", status, time.perf_counter() - started)
        await call_context.abort(STATUS_CODES.get(failure.status, grpc.StatusCode.INVALID_ARGUMENT), failure.message)
        return None

    request_class = message_class(f"{name}Request")
    response_class = message_class(f"{name}Response")
    return grpc.unary_unary_rpc_method_handler(call, request_class.FromString, response_class.SerializeToString)


def _headers(call_context: grpc.aio.ServicerContext) -> Iterable[tuple[bytes, bytes]]:
    """Return a call's metadata in the form of ASGI headers; gRPC's names are in lower case already."""
    for name, value in call_context.invocation_metadata() or ():
        yield name.encode(), value if isinstance(value, bytes) else value.encode()


async def _live(context: Context, _: Any) -> Any:
    return from_dict("ServerLiveResponse", {"live": context.lifecycle.failure is None})


async def _ready(context: Context, _: Any) -> Any:
    return from_dict("ServerReadyResponse", {"ready": context.is_ready})


async def _model_ready(context: Context, message: Any) -> Any:
    try:
        find_model(context.registry, message.name, message.version or None)
    except (UnknownModelError, UnknownVersionError):
        return from_dict("ModelReadyResponse", {"ready": False})
    return from_dict("ModelReadyResponse", {"ready": context.is_ready})


async def _server_metadata(version: str) -> Any:
    return from_dict("ServerMetadataResponse", server_metadata(version))


async def _model_metadata(context: Context, message: Any) -> Any:
    served = find_model(context.registry, message.name, message.version or None)
    versions = (version.version for version in context.registry.versions_of(served.name))
    return from_dict("ModelMetadataResponse", model_metadata(served, versions))


async def _model_config(context: Context, message: Any) -> Any:
    served = find_model(context.registry, message.name, message.version or None)
    points = context.operating_points.of(served.bundle.manifest)
    return from_dict("ModelConfigResponse", {"config": model_config(served, points, context.settings)})


async def _model_statistics(context: Context, message: Any) -> Any:
    registry = context.registry
    if message.version:
        models = [find_model(registry, message.name, message.version)]
    else:
        names = [registry.get(message.name).name] if message.name else [served.name for served in registry]
        models = [served for name in names for served in registry.versions_of(name)]
    return from_dict("ModelStatisticsResponse", statistics_of(models))


async def _model_infer(context: Context, message: Any) -> Any:
    served = find_model(context.registry, message.model_name, message.model_version or None)
    points = context.operating_points.of(served.bundle.manifest)
    scope: dict[str, Any] = {}  # the budget notes the request's share here
    try:
        with count_request(served):
            context.worker.admission.check()
            context.body_budget.take(scope, message.ByteSize())
            request = read_request(message)
            outputs = await infer_outputs(served, request, context.worker, points, context.settings, context.metrics)
            return write_response(served, request, outputs)
    finally:
        context.body_budget.give_back(scope)


async def _index(context: Context, message: Any) -> Any:
    refuse_repository_name(message.repository_name)
    models = repository_index(context.catalog.index(), only_ready=message.ready)
    return from_dict("RepositoryIndexResponse", {"models": models})


async def _load(context: Context, message: Any) -> Any:
    refuse_repository_name(message.repository_name)
    refuse_load_parameters(parameters_of(message))
    await context.catalog.load(message.model_name)
    return from_dict("RepositoryModelLoadResponse", {})


async def _unload(context: Context, message: Any) -> Any:
    refuse_repository_name(message.repository_name)
    check_unload_parameters(parameters_of(message))
    await context.catalog.unload(message.model_name)
    return from_dict("RepositoryModelUnloadResponse", {})


METHODS: dict[str, Method] = {
    "ServerLive": _live,
    "ServerReady": _ready,
    "ModelReady": _model_ready,
    "ModelMetadata": _model_metadata,
    "ModelConfig": _model_config,
    "ModelStatistics": _model_statistics,
    "ModelInfer": _model_infer,
    "RepositoryIndex": _index,
    "RepositoryModelLoad": _load,
    "RepositoryModelUnload": _unload,
}
