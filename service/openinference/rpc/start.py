"""Starts the gRPC server where a port is given for it; who gives none needs no grpcio, and does not load it."""

import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from service.settings import Settings, SettingsError

if TYPE_CHECKING:
    from service.context import Context

__all__ = ["require_free_port", "require_grpc", "start_rpc"]


def require_grpc(settings: Settings) -> None:
    """Refuse a port for gRPC where gRPC is not installed.

    Raises:
        SettingsError: the sentence says what would help.

    """
    if settings.grpc_port and find_spec("grpc") is None:
        raise SettingsError("LONGTAIL_GRPC_PORT (--grpc-port) needs grpcio: `uv sync --group grpc`, or give no port")


def require_free_port(settings: Settings) -> None:
    """Refuse a port for gRPC that is taken, before any process listens there.

    From within the event loop the only way to say so is a traceback; and several processes share a port, with others as
    well, silently.

    Raises:
        SettingsError: the sentence names it.

    """
    if not settings.grpc_port:
        return
    six = ":" in settings.host
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.grpc_port))
        except OSError as error:
            where = f"{f'[{settings.host}]' if six else settings.host}:{settings.grpc_port}"
            raise SettingsError(f"gRPC cannot listen on {where}: {(error.strerror or str(error)).lower()}") from error


async def start_rpc(context: "Context", version: str) -> Any:
    """Return the server, started on the event loop that runs, or None where no port is given.

    Raises:
        OSError: the port is taken.

    """
    if not context.settings.grpc_port:
        return None
    from service.openinference.rpc.server import start  # noqa: PLC0415  see above

    return await start(context, version)
