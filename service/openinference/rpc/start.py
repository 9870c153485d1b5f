"""The start of the gRPC server, which imports grpcio only if the settings name a port for gRPC."""

import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from service.settings import Settings, SettingsError

if TYPE_CHECKING:
    from service.context import Context

PACKAGES = {"grpc": "grpcio", "grpc_health": "grpcio-health-checking", "grpc_reflection": "grpcio-reflection"}
__all__ = ["require_free_port", "require_grpc", "start_rpc"]


def require_grpc(settings: Settings) -> None:
    """Check that grpcio is installed if the settings name a port for gRPC.

    Raises:
        SettingsError: it is not; the message says how to install it.

    """
    if not settings.grpc_port:
        return
    if missing := [package for module, package in PACKAGES.items() if find_spec(module) is None]:
        raise SettingsError(
            f"LONGTAIL_GRPC_PORT (--grpc-port) needs {missing[0]}: run `uv sync --group grpc`, or leave the port unset"
        )


def require_free_port(settings: Settings) -> None:
    """Check that the port for gRPC is free, before any process listens on it.

    Within the event loop a taken port would end in a traceback, and several processes would share it with another
    program silently.

    Raises:
        SettingsError: the port is taken; the message names it.

    """
    if not settings.grpc_port:
        return
    is_ipv6 = ":" in settings.host
    with socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.grpc_port))
        except OSError as error:
            address = f"{f'[{settings.host}]' if is_ipv6 else settings.host}:{settings.grpc_port}"
            raise SettingsError(f"gRPC cannot listen on {address}: {(error.strerror or str(error)).lower()}") from error


async def start_rpc(context: "Context", version: str) -> Any:
    """Start the server on the running event loop and return it; None if the settings name no port.

    Raises:
        OSError: the port is taken.

    """
    if not context.settings.grpc_port:
        return None
    from service.openinference.rpc.server import start  # noqa: PLC0415  imports grpcio

    return await start(context, version)
