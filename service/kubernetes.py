"""Environment variables that Kubernetes writes into every pod for each Service of its namespace.

A Service called `longtail` or `longtail-grpc` gives variables that begin with LONGTAIL_, as our settings do, such as
`LONGTAIL_PORT=tcp://10.96.0.7:8000`. They say nothing about this server, so the settings and the probe ignore them.
A variable counts as one of Kubernetes' only if both its name and its value are as Kubernetes writes them.

Source: Kubernetes 1.34, pkg/kubelet/envvars/envvars.go. Standard library only, because `service.probe` imports this.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping

__all__ = ["is_written_by_kubernetes", "without_kubernetes"]

MAX_PORT = 65535
_URL = re.compile(r"(tcp|udp|sctp)://(?:\[([^]]+)]|([^:]+)):([0-9]+)")
_NAME = "_[A-Z0-9_]*[A-Z0-9]"  # of a Service or a port, in capitals and each - as _
_LINK = "_PORT_([0-9]+)_(TCP|UDP|SCTP)"


def is_written_by_kubernetes(name: str, value: str) -> bool:
    """Return whether Kubernetes writes such a variable for a Service whose name begins with `longtail`.

    >>> is_written_by_kubernetes("LONGTAIL_GRPC_PORT", "tcp://10.96.0.7:8001")
    True
    >>> is_written_by_kubernetes("LONGTAIL_GRPC_PORT", "8001")
    False
    """
    return any(fits(value, *found.groups()) for ending, fits in _ENDINGS if (found := ending.fullmatch(name)))


def without_kubernetes(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables that Kubernetes writes."""
    return {name: value for name, value in environment.items() if not is_written_by_kubernetes(name, value)}


def _is_url(value: str, port: str | None = None, protocol: str | None = None) -> bool:
    """Return whether a value is PROTOCOL://ADDRESS:PORT, with the port and the protocol of the name if it has them."""
    url = _URL.fullmatch(value)
    if url is None or not _is_port(url[4], port) or protocol not in {None, url[1].upper()}:
        return False
    in_brackets = url[2]
    return ":" in in_brackets and _is_address(in_brackets) if in_brackets else _is_address(url[3])


def _is_address(value: str, *_: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return "%" not in value  # the zone of a link-local address, which no Service has


def _is_port(value: str, port: str | None = None, *_: str) -> bool:
    return bool(re.fullmatch("[1-9][0-9]{0,4}", value)) and int(value) <= MAX_PORT and port in {None, value}


def _is_protocol(value: str, _: str, protocol: str) -> bool:
    return value == protocol.lower()


_ENDINGS: tuple[tuple[re.Pattern[str], Callable[..., bool]], ...] = tuple(
    (re.compile(f"LONGTAIL(?:{_NAME})?{ending}"), fits)
    for ending, fits in (
        ("_SERVICE_HOST", _is_address),
        (f"_SERVICE_PORT(?:{_NAME})?", _is_port),  # of the first port, and of each port that has a name
        ("_PORT", _is_url),
        (_LINK, _is_url),
        (f"{_LINK}_PROTO", _is_protocol),
        (f"{_LINK}_PORT", _is_port),
        (f"{_LINK}_ADDR", _is_address),
    )
)
