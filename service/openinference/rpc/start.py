"""Starts the gRPC server where a port is given for it; who gives none needs no grpcio, and does not load it."""

import socket
from importlib.util import find_spec
from typing import Any

from service.context import Context
from service.settings import Settings, SettingsError

__all__ = ["require_grpc", "start_rpc"]


def require_grpc(settings: Settings) -> None:
    """Refuse a port for gRPC where gRPC is not installed, or the port is taken.

    Raises:
        SettingsError: the sentence says what would help.
    """
    if settings.grpc_port and find_spec("grpc") is None:
        raise SettingsError("LONGTAIL_GRPC_PORT (--grpc-port) needs grpcio: `uv sync --group grpc`, or give no port")
    if settings.grpc_port:
        _try_port(settings)


def _try_port(settings: Settings) -> None:
    """Bind the port and let it go: from within the event loop the only way to say that it is taken is a traceback."""
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if settings.workers > 1:  # the others have it already
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            probe.bind((settings.host, settings.grpc_port))
        except OSError as error:
            where = f"{settings.host}:{settings.grpc_port}"
            raise SettingsError(f"gRPC cannot listen on {where}: {(error.strerror or str(error)).lower()}") from error


async def start_rpc(context: Context, version: str) -> Any:
    """Return the server, started on the event loop that runs, or None where no port is given.

    Raises:
        OSError: the port is taken.
    """
    if not context.settings.grpc_port:
        return None
    from service.openinference.rpc.server import start  # noqa: PLC0415  see above

    return await start(context, version)
