"""What Kubernetes writes for a Service called longtail… is passed over; everything else that looks like it is not."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from models.bundle import Bundle
from service.kubernetes import is_written_by_kubernetes, without_kubernetes
from service.probe import default_url
from service.settings import Settings, SettingsError
from tests.service.server.test_process import command, run, server

ROOT = Path(__file__).parents[2]
Port = tuple[str, int, str]  # name or "", number, protocol


def injected(service: str, address: str, *ports: Port) -> dict[str, str]:
    """Return the variables as FromServices in kubernetes/pkg/kubelet/envvars/envvars.go makes them."""
    prefix = service.replace("-", "_").upper()
    host = f"[{address}]" if ":" in address else address
    first = ports[0]
    variables = {
        f"{prefix}_SERVICE_HOST": address,
        f"{prefix}_SERVICE_PORT": str(first[1]),
        f"{prefix}_PORT": f"{first[2].lower()}://{host}:{first[1]}",
    }
    for name, number, protocol in ports:
        if name:
            variables[f"{prefix}_SERVICE_PORT_{name.replace('-', '_').upper()}"] = str(number)
        link = f"{prefix}_PORT_{number}_{protocol}"
        variables[link] = f"{protocol.lower()}://{host}:{number}"
        variables |= {f"{link}_PROTO": protocol.lower(), f"{link}_PORT": str(number), f"{link}_ADDR": address}
    return variables


SERVICES = [
    injected("longtail", "10.96.0.7", ("", 80, "TCP")),
    injected("longtail", "10.96.0.7", ("http", 8000, "TCP"), ("grpc", 8001, "TCP"), ("metrics-2", 65535, "TCP")),
    injected("longtail-grpc", "10.96.10.8", ("grpc", 8001, "TCP")),
    injected("longtail-x-y", "fd00:10:96::a", ("", 1, "UDP")),
    injected("longtail-host", "172.20.0.1", ("http", 443, "SCTP")),
    injected("longtail-port", "10.0.0.1", ("", 8000, "TCP")),
    injected("longtail-grpc-port", "10.0.0.1", ("port", 8000, "TCP"), ("host", 8000, "UDP")),
    injected("longtail--canary", "10.0.0.1", ("a--b", 80, "TCP")),
    injected("longtail-2", "10.0.0.1", ("80", 80, "TCP")),
    injected("longtail-max-body-mb", "::1", ("", 20, "TCP")),
    injected("longtail-port-80-tcp", "10.0.0.1", ("", 80, "TCP")),
]
ALL = {name: value for each in SERVICES for name, value in each.items()}


@pytest.mark.parametrize("variables", SERVICES, ids=lambda variables: next(iter(variables)))
def test_every_variable_of_a_service_is_passed_over(variables: Mapping[str, str]) -> None:
    assert without_kubernetes(variables) == {}
    assert Settings.read(variables) == Settings()
    assert Settings.read(variables, {"port": "9001", "grpc_port": "9002"}).port == 9001
    assert default_url(variables) == "http://127.0.0.1:8000/readyz"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LONGTAIL_PORT", "tcp://longtail:8000"),
        ("LONGTAIL_PORT", "tcp://10.96.0.7"),
        ("LONGTAIL_PORT", "http://10.96.0.7:8000"),
        ("LONGTAIL_PORT", "tcp://10.96.0.7:0"),
        ("LONGTAIL_PORT", "tcp://10.96.0.7:65536"),
        ("LONGTAIL_PORT", "tcp://10.96.0.7:8000/"),
        ("LONGTAIL_PORT", "tcp://10.96.0.7:8000\n"),
        ("LONGTAIL_PORT", "tcp://fd00::1:8000"),
        ("LONGTAIL_PORT", "tcp://[10.96.0.7]:8000"),
        ("LONGTAIL_PORT", " tcp://10.96.0.7:8000"),
        ("LONGTAIL_GRPC_PORT", "TCP://10.96.0.7:8000"),
        ("LONGTAIL_HOST", "tcp://10.96.0.7:8000"),
        ("LONGTAIL_SERVICE_HOST", "longtail.example.org"),
        ("LONGTAIL_SERVICE_HOST", "10.96.0.300"),
        ("LONGTAIL_SERVICE_HOST", "fe80::1%eth0"),
        ("LONGTAIL_SERVICE_HOST", ""),
        ("LONGTAIL_SERVICE_PORT", "http"),
        ("LONGTAIL_SERVICE_PORT", "0"),
        ("LONGTAIL_SERVICE_PORT", "٨٠"),
        ("LONGTAIL_SERVICE_PORT_", "80"),
        ("LONGTAIL_PORT_80_TCP", "tcp://10.96.0.7:81"),
        ("LONGTAIL_PORT_80_TCP", "udp://10.96.0.7:80"),
        ("LONGTAIL_PORT_80_ICMP", "icmp://10.96.0.7:80"),
        ("LONGTAIL_PORT_80_TCP_PROTO", "TCP"),
        ("LONGTAIL_PORT_80_TCP_PROTO", "udp"),
        ("LONGTAIL_PORT_80_TCP_PORT", "8000"),
        ("LONGTAIL_PORT_80_TCP_ADDR", "10.96.0"),
        ("LONGTAIL_PORTS", "tcp://10.96.0.7:8000"),
        ("LONGTAIL_SERVICE_HOSTS", "10.96.0.7"),
        ("LONGTAIL__PORT", "80"),
        ("LONGTAIL_MAX_BODY", "80"),
    ],
)
def test_what_kubernetes_does_not_write_is_refused(name: str, value: str) -> None:
    assert not is_written_by_kubernetes(name, value)
    if name != "LONGTAIL_HOST":  # any text may be a host
        with pytest.raises(SettingsError, match=rf"{name}\b"):
            Settings.read(ALL | {name: value})


def test_a_misspelt_setting_beside_them_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match="unknown setting LONGTAIL_PROT; did you mean LONGTAIL_PORT"):
        Settings.read(ALL | {"LONGTAIL_PROT": "8000"})


def test_a_setting_of_the_pod_counts_although_a_service_has_its_name() -> None:
    settings = Settings.read(ALL | {"LONGTAIL_PORT": "9000", "LONGTAIL_GRPC_PORT": "9001"})
    assert (settings.port, settings.grpc_port) == (9000, 9001)
    assert Settings.read(ALL | settings.as_environment()) == settings  # what --workers hands to its processes


@pytest.mark.slow
def test_the_service_says_in_one_line_what_it_passes_over() -> None:
    variables = SERVICES[2]
    done = run("--check", **variables)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "Kubernetes" in line]
    assert (
        line
        == "INFO     longtail.settings: ignored variables that Kubernetes writes for its Services: "
        + ", ".join(sorted(variables))
    )


@pytest.mark.slow
def test_every_process_and_the_probe_start_beside_such_services(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ALL.items():
        monkeypatch.setenv(name, value)
    with server(tiny_bundle, "--workers", "2") as (_, url):
        with httpx.Client(transport=httpx.HTTPTransport(retries=20)) as client:
            assert client.get(f"{url}/readyz", timeout=60).status_code == 200
        probe = [sys.executable, "-m", "service.probe", f"{url}/readyz"]
        assert subprocess.run(probe, cwd=ROOT, check=False).returncode == 0
    refused = subprocess.run(
        [*command(tiny_bundle, "--check"), "--port", "tcp://10.96.0.7:80"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "LONGTAIL_PORT (--port) is 'tcp://10.96.0.7:80'" in refused.stderr  # a flag is never Kubernetes'
