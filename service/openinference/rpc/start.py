"""Starts the gRPC server where a port is given for it; who gives none needs no grpcio, and does not load it."""

from importlib.util import find_spec
from typing import Any

from service.context import Context
from service.settings import Settings, SettingsError

__all__ = ["require_grpc", "start_rpc"]


def require_grpc(settings: Settings) -> None:
    """Refuse a port for gRPC where gRPC is not installed.

    Raises:
        SettingsError: the sentence says what would help.
    """
    if settings.grpc_port and find_spec("grpc") is None:
        raise SettingsError("LONGTAIL_GRPC_PORT (--grpc-port) needs grpcio: `uv sync --group grpc`, or give no port")


async def start_rpc(context: Context, version: str) -> Any:
    """Return the server, started on the event loop that runs, or None where no port is given.

    Raises:
        OSError: the port is taken.
    """
    if not context.settings.grpc_port:
        return None
    from service.openinference.rpc.server import start  # noqa: PLC0415  see above

    return await start(context, version)
