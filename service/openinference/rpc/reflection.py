"""Server reflection, from which grpcurl and similar programs learn the services and their messages.

grpcio-reflection answers. It knows the name `grpc.reflection.v1alpha` only; `v1` has the same messages, and clients
that ask for `v1` first get the same answers. Like `/openapi.json`, it needs no key.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from service.context import Context
from service.openinference.rpc.health import HEALTH
from service.openinference.rpc.messages import DESCRIPTORS, SERVICE
from service.openinference.rpc.streams import Streams

__all__ = ["reflection_handlers"]

SERVICES = (SERVICE, HEALTH, reflection.SERVICE_NAME)
V1 = "grpc.reflection.v1.ServerReflection"


def reflection_handlers(context: Context, streams: Streams) -> list[Any]:
    """Return the handlers of both versions.

    Args:
        context: the service.
        streams: bounds the clients.

    """
    servicer = reflection.aio.ReflectionServicer(SERVICES, pool=_pool())

    async def info(requests: AsyncIterator[Any], call_context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        async with streams.one(call_context):
            open_requests = _until(context.lifecycle.closed_to_new_work, requests)
            async for answer in servicer.ServerReflectionInfo(open_requests, call_context):
                yield answer

    method = grpc.stream_stream_rpc_method_handler(
        info,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    names = (V1, reflection.SERVICE_NAME)
    return [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method}) for name in names]


def _pool() -> DescriptorPool:
    """Return the descriptions of all services."""
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
        pool.Add(file)
    for module in (health_pb2, reflection_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    return pool


def _found(request: Any) -> Any:
    """Return the request; if it asks for a method, which protobuf's pool does not find, for its service instead."""
    service = request.file_containing_symbol.rpartition(".")[0]
    if service in SERVICES:
        request.file_containing_symbol = service
    return request


async def _until(closed: asyncio.Event, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield the requests until the server accepts no new work, so that an idle client does not hold up its end."""
    closing = asyncio.ensure_future(closed.wait())
    try:
        while True:
            coming = asyncio.ensure_future(anext(requests, None))
            await asyncio.wait({coming, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                coming.cancel()
                return
            if (request := coming.result()) is None:
                return
            yield _found(request)
    finally:
        closing.cancel()
