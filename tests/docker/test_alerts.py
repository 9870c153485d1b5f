"""The alerts are valid, fire only when they should, and use the service's metrics."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.docker.programs import DOCKER, ROOT, program

FOLDER = DOCKER / "prometheus"
ALERTS = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
CASES = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
SUFFIXES = r"(_total|_bucket|_sum|_count)$"


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [program("promtool", "prometheus"), *arguments]
    return subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("what", [("check", "config", "prometheus.yml"), ("check", "rules", "alerts.yml")])
def test_prometheus_accepts_the_configuration_and_the_rules(what: tuple[str, ...]) -> None:
    done = promtool(*what)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_in_its_examples_and_only_there() -> None:
    done = promtool("test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_example_fails(tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text((FOLDER / "alerts.yml").read_text().replace("> 0.8", "> 0.95"))
    (tmp_path / "alerts_test.yml").write_text((FOLDER / "alerts_test.yml").read_text())
    assert promtool("test", "rules", str(tmp_path / "alerts_test.yml")).returncode == 1


def test_every_alert_has_an_example_in_which_it_fires() -> None:
    fired = {rule["alertname"] for case in CASES for rule in case["alert_rule_test"] if rule.get("exp_alerts")}
    assert fired == {alert["alert"] for alert in ALERTS}


@pytest.mark.parametrize("text", [str(rule["expr"]) for rule in ALERTS])
def test_every_metric_is_documented(text: str) -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    documented = re.findall(r"^\| `(longtail_\w+)` \|", page, re.MULTILINE)
    known = {re.sub(SUFFIXES, "", name) for name in documented}
    used = {re.sub(SUFFIXES, "", name) for name in re.findall(r"\blongtail_\w+", text)}
    assert used <= known


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_every_alert_has_a_severity_and_a_summary(alert: dict[str, dict[str, str]]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert len(alert["annotations"]["summary"].split()) >= 5
