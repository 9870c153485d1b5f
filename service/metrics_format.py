"""The choice between the two formats of /metrics: Prometheus' text format and OpenMetrics.

The `Accept` header is read here, because the client library's `choose_encoder` ignores quality values and fails on a
version in quotes (findings/prometheus-accept.sh).
"""

from collections.abc import Callable
from email.message import Message
from typing import NamedTuple

from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

__all__ = ["OPENMETRICS", "TEXT", "MetricsFormat", "choose_format"]


class MetricsFormat(NamedTuple):
    """A format of metrics.

    Attributes:
        content_type: the value of the header of that name.
        versions: the versions that a client may ask for.
        write: returns the metrics of a registry.

    """

    content_type: str
    versions: frozenset[str]
    write: Callable[[Collector], bytes]


TEXT = MetricsFormat("text/plain; version=0.0.4; charset=utf-8", frozenset({"", "0.0.4"}), generate_latest)
OPENMETRICS = MetricsFormat(
    "application/openmetrics-text; version=1.0.0; charset=utf-8", frozenset({"", "1.0.0"}), openmetrics.generate_latest
)


def choose_format(accept: str) -> MetricsFormat:
    """Return the format that a client prefers, by its `Accept` header; the text format if it says nothing of the two.

    >>> choose_format("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.4,*/*;q=0.1").content_type
    'application/openmetrics-text; version=1.0.0; charset=utf-8'
    >>> choose_format("*/*").content_type
    'text/plain; version=0.0.4; charset=utf-8'
    """
    wanted = _quality(accept, OPENMETRICS)
    return OPENMETRICS if wanted > 0 and wanted >= _quality(accept, TEXT) else TEXT


def _quality(accept: str, offered: MetricsFormat) -> float:
    """Return the highest quality that a header gives to a format by its own name, 0 to 1; 0 if it does not name it."""
    found = 0.0
    for part in accept.split(","):
        entry = Message()
        entry["Content-Type"] = part.strip()
        if entry.get_content_type() != offered.content_type.partition(";")[0] or "/" not in part:
            continue
        if str(entry.get_param("version", "")) not in offered.versions:
            continue
        try:
            found = max(found, float(str(entry.get_param("q", "1"))))
        except ValueError:  # no number: the entry does not count
            continue
    return found
