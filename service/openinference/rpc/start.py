"""The start of the gRPC server, which imports grpcio only if the settings name a port for gRPC."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from service.settings import Settings, SettingsError

if TYPE_CHECKING:
    from service.context import Context

PACKAGES = {"grpc": "grpcio", "grpc_health": "grpcio-health-checking", "grpc_reflection": "grpcio-reflection"}
__all__ = ["require_grpc", "start_rpc"]


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


async def start_rpc(context: "Context", version: str) -> Any:
    """Start the server on the running event loop and return it; None if the settings name no port.

    Raises:
        OSError: the port is taken.

    """
    if not context.settings.grpc_port:
        return None
    from service.openinference.rpc.server import start  # noqa: PLC0415  imports grpcio

    return await start(context, version)
