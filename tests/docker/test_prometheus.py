"""Debian's Prometheus scrapes live services with the shipped configuration; every dashboard query returns data."""

import base64
import re
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.docker.programs import DOCKER, NAMES_AT, answers, eventually, names, needs, program, replica, started
from tests.docker.test_alerts import ALERTS
from tests.docker.test_dashboard import DASHBOARD, QUERIES
from tests.service.conftest import CLASSIFY, picture
from tests.service.server.test_process import PNG
from tests.tiny_bundle import write_tiny_bundle

pytestmark = pytest.mark.slow
PROMETHEUS = "http://127.0.0.1:9090"
SERVICE = "127.0.0.61"
OTHER = "127.0.0.62"
LABELS = 60  # of pictures that cover every group of the tiny model


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run Prometheus until it has scraped two services, `service` and a `replica`, under traffic of every kind."""
    folder = tmp_path_factory.mktemp("prometheus")
    command = [program("prometheus", "prometheus"), "--config.file", DOCKER / "prometheus" / "prometheus.yml"]
    command += ["--storage.tsdb.path", folder / "data", "--web.listen-address", "127.0.0.1:9090"]
    needs(subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0, "mount namespaces need root")
    with socket.socket() as probe:
        needs(probe.connect_ex(("127.0.0.1", 9090)) != 0, "something else listens on 127.0.0.1:9090")
    (folder / "resolv.conf").write_text(f"nameserver {NAMES_AT}\n")
    inside = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'  # our name server, not Docker's
    models = write_tiny_bundle(folder / "models").parent.parent
    few = {"LONGTAIL_MAX_PENDING_IMAGES": "8"}
    with (
        names(service=[SERVICE], replica=[OTHER]),
        replica(SERVICE, models, few | {"LONGTAIL_DATABASE": f"sqlite:///{folder}/a.db"}),
        replica(OTHER, models, few | {"LONGTAIL_DATABASE": f"sqlite:///{folder}/b.db"}),
        started(["unshare", "-m", "sh", "-ec", inside, "sh", folder / "resolv.conf", *command], folder / "log"),
    ):
        eventually(lambda: answers(f"{PROMETHEUS}/-/ready"), "Prometheus is ready")
        (models / "tiny" / "2").mkdir()  # a bundle to be refused
        for first in (0, LABELS):  # a rate needs a scrape before and one after
            for address in (SERVICE, OTHER):
                all_kinds_of_traffic(f"http://{address}:8000", first)
            wait_for_scrapes(first + LABELS)
        yield PROMETHEUS


def all_kinds_of_traffic(url: str, first: int) -> None:
    """Send requests that change every metric, with pictures numbered from `first`."""
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        for number in range(first, first + LABELS):
            answer = client.post(CLASSIFY, content=picture(number), headers=PNG, params={"alpha": 2.0})
            label = {"id": answer.json()["results"][0]["id"], "label": number % 5}
            assert client.post("/v1/feedback", json=label).status_code == 200
        assert client.post(CLASSIFY, content=picture(first), headers=PNG).status_code == 200  # a cache hit
        assert client.post(CLASSIFY, content=b"no picture", headers=PNG).status_code == 422
        form = [("files", (str(i), picture(1000 + i))) for i in range(10)]
        assert client.post(CLASSIFY, files=form).json()["error"]["code"] == "overloaded"
        tensor = {"name": "encoded", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(picture(0)).decode()]}
        late = client.post("/v2/models/tiny/infer", json={"inputs": [tensor], "parameters": {"timeout": 1}})
        assert late.status_code == 504, late.text


def wait_for_scrapes(labels: int) -> None:
    """Wait until both services' latest figures are scraped; labels are read every 5 s, and scrapes come every 5 s."""
    for query in ("longtail_feedback_accuracy", f"longtail_feedback_labels == {labels}",
                  f'longtail_errors_total{{code="deadline_exceeded"}} == {labels // LABELS}'):  # fmt: skip
        eventually(lambda query=query: len({s["metric"]["instance"] for s in ask(query)}) == 2, query, 60)


def ask(query: str) -> list[dict[str, Any]]:
    """Return the current result of a query."""
    answer = httpx.get(f"{PROMETHEUS}/api/v1/query", params={"query": query}, trust_env=False).json()
    assert answer["status"] == "success", answer
    return list(answer["data"]["result"])


def filled_in(query: str) -> str:
    """Replace a query's variables as Grafana does for "All"."""
    query = query.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$model", ".*")
    assert "$" not in query
    return query


def test_both_services_are_found_by_name_and_scraped(prometheus: str) -> None:
    up = {each["metric"]["instance"]: each["value"][1] for each in ask('up{job="longtail"}')}
    assert up == {"service:8000": "1", f"{OTHER}:8000": "1"}


@pytest.mark.parametrize("query", QUERIES)
def test_every_dashboard_query_returns_data(prometheus: str, query: str) -> None:
    values = [float(each["value"][1]) for each in ask(filled_in(query))]
    assert values
    assert any(value == value for value in values)  # noqa: PLR0124  not all of them NaN


def test_every_stage_and_every_group_is_shown(prometheus: str) -> None:
    stages = next(query for query in QUERIES if "stage_seconds" in query)
    assert {"decode", "queue", "inference", "render"} <= {each["metric"]["stage"] for each in ask(filled_in(stages))}
    shares = next(query for query in QUERIES if "prediction_share" in query)
    assert {each["metric"]["group"] for each in ask(filled_in(shares))} == {"many", "medium", "few"}


@pytest.mark.parametrize("variable", DASHBOARD["templating"]["list"], ids=lambda variable: str(variable["name"]))
def test_every_variable_has_something_to_choose(prometheus: str, variable: dict[str, Any]) -> None:
    series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
    assert all(each["metric"][label] for each in ask(series))
    assert ask(series)


def test_the_rules_are_loaded_and_valid_and_no_replica_is_down(prometheus: str) -> None:
    groups = httpx.get(f"{prometheus}/api/v1/rules", trust_env=False).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == {alert["alert"] for alert in ALERTS}
    assert not [rule for rule in rules if rule["health"] == "err"]
    assert ask('ALERTS{alertname="LongtailDown"}') == []


def test_the_request_count_equals_the_answers(prometheus: str) -> None:
    (classified,) = ask('sum(longtail_requests_total{route="/v1/models/{model}/classify", status="200"})')
    assert float(classified["value"][1]) == 2 * 2 * (LABELS + 1)
