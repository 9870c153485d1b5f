"""A check before the models are loaded: are the ports free that the settings name?

Without it, a taken port would be noticed only after all models are loaded. For gRPC it would end in a traceback, and
several server processes would share the port with another program silently.
"""

import errno
import socket

from service.settings import Settings, SettingsError

__all__ = ["require_free_ports"]


def require_free_ports(settings: Settings) -> None:
    """Check that the server can listen on its ports for HTTP and gRPC. Port 0, a free one or none, is not checked.

    Raises:
        SettingsError: it cannot; the message has the address, the reason and the flag.

    """
    if settings.port and settings.port == settings.grpc_port:
        raise SettingsError(f"--port and --grpc-port are both {settings.port}; give each its own port")
    for protocol, port, flag in (("HTTP", settings.port, "--port"), ("gRPC", settings.grpc_port, "--grpc-port")):
        if port and (error := _bind_error(settings.host, port)):
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            reason = (error.strerror or str(error)).lower()
            raise SettingsError(f"{protocol} cannot listen on {host}:{port}: {reason}{_advice(error, flag)}")


def _bind_error(host: str, port: int) -> OSError | None:
    """Return why the server could not listen on any address of the host, or on one that is in use; None if it can."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        return error
    errors = []
    for family, _, _, _, address in addresses:
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return error
            errors.append(error)
    return errors[0] if len(errors) == len(addresses) else None


def _advice(error: OSError, flag: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"; give another port with {flag}, or end the program that uses this one"
    if error.errno == errno.EACCES:
        return f"; give a port above 1023 with {flag}"
    return "; correct --host"
