"""The standard health service, `grpc.health.v1.Health`, which Kubernetes' `grpc:` probes and load balancers call.

The server as a whole (no name) and the protocol's service are SERVING while the server is ready for requests, as
`/readyz` says, so they turn to NOT_SERVING as soon as it drains. The name `liveness` follows `/livez`, for a liveness
probe on the same port.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from service.context import Context
from service.openinference.rpc.messages import SERVICE
from service.openinference.rpc.streams import Streams

__all__ = ["HEALTH", "health_handler"]

HEALTH = "grpc.health.v1.Health"
LIVENESS = "liveness"
NAMES = ("", SERVICE, LIVENESS)
CHECK_SECONDS = 0.5  # how late a watcher may learn of a change


def health_handler(context: Context, streams: Streams) -> Any:
    """Return the handler of the service's methods; like the HTTP probes, they need no key.

    Args:
        context: the service.
        streams: bounds the watchers.

    """

    async def check(request: Any, call_context: grpc.aio.ServicerContext) -> Any:
        started = time.perf_counter()
        known = request.service in NAMES
        context.metrics.count_answer(f"/{HEALTH}/Check", 200 if known else 404, time.perf_counter() - started)
        if not known:
            names = " and ".join(f"'{name}'" for name in NAMES)
            message = f"there is no service {request.service[:64]!r}; there are: {names}"
            await call_context.abort(grpc.StatusCode.NOT_FOUND, message)
        return HealthCheckResponse(status=_status(context, request.service))

    async def watch(request: Any, call_context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        async with streams.one(call_context):
            async for status in _statuses(context, request.service):
                yield HealthCheckResponse(status=status)

    serialize = HealthCheckResponse.SerializeToString
    return grpc.method_handlers_generic_handler(
        HEALTH,
        {
            "Check": grpc.unary_unary_rpc_method_handler(check, HealthCheckRequest.FromString, serialize),
            "Watch": grpc.unary_stream_rpc_method_handler(watch, HealthCheckRequest.FromString, serialize),
        },
    )


async def _statuses(context: Context, name: str) -> AsyncIterator[int]:
    """Yield a service's status now and after each change, until the server accepts no new work."""
    closed = context.lifecycle.closed_to_new_work
    last = None
    while True:
        is_last = closed.is_set()
        status = _status(context, name)
        if status != last:
            yield status
        if is_last:
            return
        last = status
        try:
            await asyncio.wait_for(closed.wait(), CHECK_SECONDS)
        except TimeoutError:
            continue


def _status(context: Context, name: str) -> int:
    if name not in NAMES:
        unknown: int = HealthCheckResponse.SERVICE_UNKNOWN
        return unknown
    serving = context.lifecycle.failure is None if name == LIVENESS else context.is_ready
    status: int = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
    return status
