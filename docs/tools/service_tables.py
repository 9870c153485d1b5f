"""Reference tables of the service: settings, errors, metrics, routes and their parameters."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from docs.tools.markdown import code, table
from engines.fake import FakeEngine
from service.app import Application, create_app
from service.catalog.loader import loader
from service.errors import ServiceError
from service.model_errors import INTERNAL_ERROR, MODEL_ERRORS
from service.setting_groups import GROUPS, SHIPPED_MODELS
from service.settings import Settings

__all__ = ["errors_table", "metrics_table", "parameters_table", "routes_table", "settings_table"]

MACHINE_DEFAULTS = {"inference_threads": "CPU cores + 1", "decode_threads": "CPU cores"}
STARLETTE_ERRORS = (
    (404, "not_found", "", "No route has this path."),
    (405, "method_not_allowed", "`Allow`", "The path exists, but not with this method."),
)
PAGES = (
    ("GET", "/docs", "The OpenAPI description as a page to try out", "none"),
    ("GET", "/", "The playground", "none"),
)
MAX_ROUTES_NAMED = 4
SUFFIXES = {"counter": "_total", "info": "_info"}


class MetricFamily(NamedTuple):
    """What /metrics says about one metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    documentation: str


def settings_table() -> str:
    """Return the tables of settings, one for each group: flag, variable, default, meaning."""
    parts = []
    for heading, group in GROUPS.items():
        rows = [
            [code(_flag(name)), code(f"LONGTAIL_{name.upper()}"), _default(name, field.default), str(field.description)]
            for name, field in group.model_fields.items()
        ]
        parts.append(f"## {heading.capitalize()}\n\n{table(['flag', 'variable', 'default', 'meaning'], rows)}")
    return "\n\n".join(parts)


def errors_table() -> str:
    """Return the table of errors, by status and code."""
    found = {(each.status, each.code): (_names(each.headers), _sentence(each)) for each in _leaves(ServiceError)}
    found |= {(each.status, each.code): ("", each.when) for each in (*MODEL_ERRORS.values(), INTERNAL_ERROR)}
    found |= {(status, name): (headers, when) for status, name, headers, when in STARLETTE_ERRORS}
    rows = [[str(status), code(name), headers, when] for (status, name), (headers, when) in sorted(found.items())]
    return table(["status", "code", "headers", "when"], rows)


def metrics_table() -> str:
    """Return the table of metrics, in the order of /metrics."""
    rows = [
        [code(each.name), each.kind, ", ".join(map(code, each.labels)), each.documentation]
        for each in _metric_families()
    ]
    return table(["metric", "type", "labels", "meaning"], rows)


def routes_table() -> str:
    """Return the table of routes: method, path, what it does, the scope of API key it needs."""
    rows = [
        [f"{code(f'{method} {path}')}", _summary(operation), _scope(operation)]
        for method, path, operation in _operations()
    ]
    rows += [[code(f"{method} {path}"), what, scope] for method, path, what, scope in PAGES]
    return table(["route", "what it does", "scope"], rows)


def parameters_table() -> str:
    """Return the table of query parameters and headers; routes that share one share its row."""
    used: dict[tuple[str, str], tuple[dict[str, Any], list[str]]] = {}
    for method, path, operation in _operations():
        for parameter in operation.get("parameters", ()):
            if parameter["in"] != "path":
                key = (parameter["name"], parameter.get("description", ""))
                used.setdefault(key, (parameter, []))[1].append(f"{method} {path}")
    rows = [
        [code(name), _routes(routes), _parameter_default(parameter), description]
        for (name, description), (parameter, routes) in used.items()
    ]
    return table(["parameter", "of", "default", "meaning"], rows)


def application() -> Application:
    """Return the service's application, with engines that need no network; it is not started."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.read({"LONGTAIL_DATABASE": f"sqlite:///{folder}/tables.db"})
        return create_app(settings, loader(settings, FakeEngine))


def _operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in application().openapi()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _summary(operation: dict[str, Any]) -> str:
    return str(operation["summary"])


def _scope(operation: dict[str, Any]) -> str:
    """The scope an API key needs."""
    scope = operation.get("x-required-scope", "none")
    return str(scope) if scope in {"any", "none"} else code(scope)


def _routes(routes: list[str]) -> str:
    """The routes that take a parameter, shortened."""
    if len(routes) > MAX_ROUTES_NAMED:
        return "every route under `/v1/models/{model}`"
    return ", ".join(
        code(route.replace("/v1/models/{model}/", "…/").replace("/v2/models/{model}/", "/v2/…/")) for route in routes
    )


def _parameter_default(parameter: dict[str, Any]) -> str:
    default = parameter["schema"].get("default")
    return "" if default is None else code(default)


def _metric_families() -> Iterator[MetricFamily]:
    registry: CollectorRegistry = application().context.metrics._registry  # a table is made of it, nothing else
    for collector in registry._collector_to_names:  # the public interface names no labels
        yield from _described(collector)


def _described(collector: Collector) -> Iterator[MetricFamily]:
    labels = getattr(collector, "_labelnames", None)
    if labels is None:  # a collector of several families
        for family in collector.collect():
            labels = getattr(family, "_labelnames", ()) or next((tuple(each.labels) for each in family.samples), ())
            name = f"{family.name}{SUFFIXES.get(family.type, '')}"
            yield MetricFamily(name, family.type, tuple(labels), family.documentation)
        return
    kind = str(getattr(collector, "_type"))  # noqa: B009  as above
    name = f"{getattr(collector, '_name')}{SUFFIXES.get(kind, '')}"  # noqa: B009
    yield MetricFamily(name, kind, tuple(labels), str(getattr(collector, "_documentation")))  # noqa: B009


def _leaves(error: type[ServiceError]) -> Iterator[type[ServiceError]]:
    subclasses = error.__subclasses__()
    if not subclasses:
        yield error
    for each in subclasses:
        yield from _leaves(each)


def _sentence(error: type[Exception]) -> str:
    return " ".join((error.__doc__ or "").split())


def _names(headers: Any) -> str:
    return ", ".join(map(code, headers))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _default(name: str, default: object) -> str:
    if name in MACHINE_DEFAULTS:
        return MACHINE_DEFAULTS[name]
    if default == SHIPPED_MODELS:
        return code(Path("models/shipped"))
    return "none" if default is None else code(f"{default:g}" if isinstance(default, float) else default)
