"""The dashboard is consistent and uses the service's metrics; test_prometheus.py checks that its queries give data."""

import json
import re
from typing import Any

import pytest
import yaml

from tests.docker.programs import COMPOSE, DOCKER, ROOT
from tests.docker.test_alerts import SUFFIXES

GRAFANA = DOCKER / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "longtail.json").read_text())
SOURCE = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"][0]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
QUERIES = [target["expr"] for target in TARGETS]
WORTH_WATCHING = [
    "histogram_quantile.0.5, .*stage_seconds", "histogram_quantile.0.99, .*stage_seconds",
    "longtail_batch_images", "longtail_pending_images{", "longtail_pending_images_limit",
    "overloaded|deadline_exceeded", 'longtail_cache_lookups_total{.*outcome="hit"', "longtail_head_distance_sum",
    *(rf'longtail_prediction_share{{.*alpha="{alpha}"' for alpha in ("used", "zero")),
    *(rf'longtail_feedback_accuracy{{.*alpha="{alpha}"' for alpha in ("in_force", "zero")),
    "longtail_alpha_optimum", "longtail_alpha_in_force", "longtail_alpha_drift",
]  # fmt: skip


@pytest.mark.parametrize("pattern", WORTH_WATCHING)
def test_every_important_metric_is_shown(pattern: str) -> None:
    assert any(re.search(pattern, query) for query in QUERIES)


def test_ids_are_unique_and_panels_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(ids) == len(set(ids))
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_every_panel_uses_the_provisioned_data_source() -> None:
    source = {"type": SOURCE["type"], "uid": SOURCE["uid"]}
    asked = [*PANELS, *TARGETS, *DASHBOARD["templating"]["list"], *DASHBOARD["annotations"]["list"]]
    assert all(each["datasource"] == source for each in asked)
    assert all(panel["title"] and panel["description"] for panel in PANELS)


def test_every_variable_is_defined() -> None:
    defined = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert {name for query in QUERIES for name in re.findall(r"\$(\w+)", query)} == defined | {"__rate_interval"}


def test_every_metric_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    documented = re.findall(r"^\| `(longtail_\w+)` \|", page, re.MULTILINE)
    known = {re.sub(SUFFIXES, "", name) for name in documented}
    used = {re.sub(SUFFIXES, "", name) for query in QUERIES for name in re.findall(r"\blongtail_\w+", query)}
    assert used <= known


def test_grafana_finds_its_files_and_prometheus_where_compose_puts_them() -> None:
    grafana = COMPOSE["services"]["grafana"]
    mounted = dict(volume.removesuffix(":ro").split(":") for volume in grafana["volumes"] if volume.startswith("./"))
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "longtail.yml").read_text())["providers"][0]
    assert mounted[f"./{GRAFANA.relative_to(ROOT)}/dashboards"] == provider["options"]["path"]
    assert mounted[f"./{GRAFANA.relative_to(ROOT)}/provisioning"] == "/etc/grafana/provisioning"
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].startswith(provider["options"]["path"])
    assert SOURCE["url"] == "http://prometheus:9090"
    assert "prometheus" in COMPOSE["services"]


def test_grafana_knows_how_often_prometheus_scrapes() -> None:
    scrapes = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert SOURCE["jsonData"]["timeInterval"] == scrapes
