"""Every path, port, variable, name and address in docker-compose.yml exists in the code or in a file next to it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.keys import find_key, read_key_file
from service.settings import Settings
from tests.docker.programs import COMPOSE, DOCKER, ROOT, program

SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("service", "service-gpu", "replica")
DOCKERFILE = (DOCKER / "service.Dockerfile").read_text()
PROMETHEUS = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())
HAPROXY = (DOCKER / "haproxy.cfg").read_text()


def image_variables(target: str) -> dict[str, str]:
    """Return the settings that a target's stages set."""
    stages = dict(re.findall(r"^FROM \S+ AS (\S+)$(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL))
    return dict(re.findall(r"(LONGTAIL_\w+)=(\S+)", stages["runtime"] + stages[target]))


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|m)", text).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


def megabytes(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(m|g)", text).groups()
    return int(number) * {"m": 1, "g": 1024}[unit]


@pytest.mark.parametrize("profile", ["", "gpu", "scale", "gpu,scale"])
def test_docker_compose_accepts_the_file(profile: str) -> None:
    command = [program("docker-compose", "docker-compose"), "config"]
    environment = os.environ | {"COMPOSE_PROFILES": profile}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARN" not in done.stderr
    assert yaml.safe_load(done.stdout)["services"].keys() == SERVICES.keys()


@pytest.mark.parametrize(
    ("profile", "services"),
    [
        (None, {"service", "prometheus", "grafana"}),
        ("gpu", {"service-gpu"}),
        ("scale", {"replica", "balancer", "postgres"}),
    ],
)
def test_each_profile_starts_its_services(profile: str | None, services: set[str]) -> None:
    assert {name for name, each in SERVICES.items() if each.get("profiles") == (profile and [profile])} == services


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_and_its_value_fits(name: str, tmp_path: Path) -> None:
    environment = image_variables(SERVICES[name]["build"]["target"]) | SERVICES[name]["environment"]
    if "LONGTAIL_DATABASE_PASSWORD_FILE" in environment:
        assert environment["LONGTAIL_DATABASE_PASSWORD_FILE"] == "/run/secrets/postgres_password"
        (tmp_path / "password").write_text("x")
        environment["LONGTAIL_DATABASE_PASSWORD_FILE"] = str(tmp_path / "password")
    settings = Settings.read(environment)
    assert str(settings.models) == "/models"
    assert settings.device == ("cuda" if name == "service-gpu" else "cpu")


@pytest.mark.parametrize(("target", "device"), [("cpu", "cpu"), ("gpu", "cuda")])
def test_an_image_alone_listens_on_all_interfaces_and_keeps_its_state_in_its_volume(target: str, device: str) -> None:
    settings = Settings.read(image_variables(target))
    assert (settings.host, settings.device) == ("0.0.0.0", device)  # noqa: S104  a container's
    assert f"EXPOSE {settings.port}\n" in DOCKERFILE
    assert settings.database.startswith(f"sqlite:///{re.search(r'^VOLUME (.+)$', DOCKERFILE, re.MULTILINE)[1]}/")


@pytest.mark.parametrize("name", SERVICES)
def test_every_mounted_folder_and_file_exists_or_is_a_volume(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, target = re.fullmatch(r"(\$\{\w+:-[^}]+\}|[^:]+):([^:]+)(?::ro)?", volume).groups()
        source = re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", source)
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
        else:
            assert source in COMPOSE["volumes"], source
        assert target.startswith("/")


@pytest.mark.parametrize("name", OURS)
def test_our_images_are_built_from_existing_targets(name: str) -> None:
    build = SERVICES[name]["build"]
    assert (ROOT / build["context"] / build["dockerfile"]).exists()
    assert f" AS {build['target']}\n" in DOCKERFILE
    default = re.search(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)[1]
    assert build["args"] == {"BASE": f"${{LONGTAIL_BASE:-{default}}}"}
    targets = [volume.split(":")[-2 if volume.endswith(":ro") else -1] for volume in SERVICES[name]["volumes"]]
    assert all(f" {target}" in DOCKERFILE for target in targets)  # each is a folder of the image


@pytest.mark.parametrize("file", ["service.Dockerfile", "training.Dockerfile"])
def test_every_stage_starts_from_the_base_and_copies_only_files_in_the_build_context(file: str) -> None:
    text = (DOCKER / file).read_text()
    stages = {name for _, name in re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)}
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) <= stages | {"${BASE}"}
    sent = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = [source for line in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE) for source in line.split()]
    assert copied
    assert all(source in sent and (ROOT / source).exists() for source in copied)


@pytest.mark.parametrize("file", ["service.Dockerfile", "training.Dockerfile"])
def test_an_image_holds_every_package_that_its_code_imports(file: str) -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", (DOCKER / file).read_text(), re.MULTILINE))
    modules = [path.read_text() for folder in copied for path in (ROOT / folder).rglob("*.py")]
    imported = {name for text in modules for name in re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE)}
    assert imported & {"engines", "models", "service", "training"} <= copied


def test_the_python_of_the_base_is_one_that_the_project_supports() -> None:
    base = re.search(r"^ARG BASE=python:(\d+)\.(\d+)-", DOCKERFILE, re.MULTILINE)
    assert f'requires-python = ">={base[1]}.{base[2]}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_limits_restarts_and_a_read_only_root(name: str) -> None:
    service = SERVICES[name]
    assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys()
    assert service["restart"] == "unless-stopped"
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert all(each.startswith("${LONGTAIL_BIND:-127.0.0.1}:") for each in service.get("ports", []))


@pytest.mark.parametrize("name", OURS)
def test_docker_waits_longer_for_a_container_to_stop_than_the_service_takes(name: str) -> None:
    settings = Settings.read({k: v for k, v in SERVICES[name]["environment"].items() if "DATABASE" not in k})
    assert seconds(SERVICES[name]["stop_grace_period"]) > settings.drain_seconds + settings.grace_seconds + 5


@pytest.mark.parametrize("name", OURS)
def test_archives_fit_into_tmp_and_tmp_into_memory(name: str) -> None:
    settings = Settings.read({k: v for k, v in SERVICES[name]["environment"].items() if "DATABASE" not in k})
    size = megabytes(re.match(r"/tmp:size=(\w+),", SERVICES[name]["tmpfs"][0])[1])  # noqa: S108  the container's
    assert 2 * settings.max_archive_mb < size
    assert size + 1024 < megabytes(SERVICES[name]["deploy"]["resources"]["limits"]["memory"])


def test_every_secret_is_a_file_and_no_password_is_written_anywhere() -> None:
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == COMPOSE["secrets"].keys()
    assert all(secret["file"] == f"./docker/secrets/{name}" for name, secret in COMPOSE["secrets"].items())
    assert "docker/secrets/" in (ROOT / ".gitignore").read_text().split()
    paths = re.findall(r"/run/secrets/(\w+)", (ROOT / "docker-compose.yml").read_text())
    assert set(paths) == used
    for name, service in SERVICES.items():
        for variable in service.get("environment", {}):
            assert "PASSWORD" not in variable or variable.endswith("_FILE"), f"{name}: {variable}"


def test_replicas_reach_the_database_that_compose_starts() -> None:
    url = SERVICES["replica"]["environment"]["LONGTAIL_DATABASE"]
    postgres = SERVICES["postgres"]["environment"]
    assert url == f"postgresql://{postgres['POSTGRES_USER']}@postgres/{postgres['POSTGRES_DB']}"
    assert set(SERVICES["replica"]["networks"]) & set(SERVICES["postgres"]["networks"])
    assert "ports" not in SERVICES["postgres"]


def test_prometheus_and_the_balancer_use_existing_names_and_ports() -> None:
    port = image_variables("cpu")["LONGTAIL_PORT"]
    jobs = {job["job_name"]: job for job in PROMETHEUS["scrape_configs"]}
    found = jobs["longtail"]["dns_sd_configs"][0]
    assert jobs["longtail"]["static_configs"][0]["targets"] == [f"service:{port}"]
    assert {"service", *found["names"]} == set(OURS)
    assert str(found["port"]) == port
    assert "metrics_path" not in jobs["longtail"]  # Prometheus asks for /metrics by default
    assert f"replica:{port} " in HAPROXY
    assert f":-{jobs['balancer']['dns_sd_configs'][0]['port']}" in HAPROXY.replace("-:", ":-")
    assert SERVICES["balancer"]["ports"][0].endswith(":8080")
    assert 'bind "${LISTEN-:8080}"' in HAPROXY


def test_the_balancer_allows_as_many_replicas_as_the_compose_file_says() -> None:
    max_replicas = int(re.search(r"server-template replica (\d+) ", HAPROXY)[1])
    text = (ROOT / "docker-compose.yml").read_text()
    assert f"LONGTAIL_REPLICAS   number of replicas, at most {max_replicas}; default 2\n" in text


@pytest.mark.parametrize("where", ["haproxy.cfg", "service.Dockerfile"])
def test_health_checks_use_a_route_of_the_service(where: str) -> None:
    assert "/readyz" in (HAPROXY if where == "haproxy.cfg" else (ROOT / "service" / "probe.py").read_text())
    assert '"/readyz"' in (ROOT / "service" / "routes" / "health.py").read_text()


def test_the_containers_ports_are_published_once_each() -> None:
    published = [port.rsplit(":", 2)[1] for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == len(set(published))
    described = re.findall(r"\((?:127\.0\.0\.1:)?(\d{4})\)", (ROOT / "docker-compose.yml").read_text())
    assert sorted(published) == sorted(described)


KEYS: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.keys.yml").read_text())
WITH_KEYS = DOCKER / "prometheus" / "prometheus.keys.yml"


def test_docker_compose_gives_keys_to_every_service_of_ours() -> None:
    command = [program("docker-compose", "docker-compose"), "-f", "docker-compose.yml", "-f", "docker-compose.keys.yml"]
    environment = os.environ | {"COMPOSE_PROFILES": "gpu,scale"}
    done = subprocess.run([*command, "config"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    for name in OURS:
        sources = {each if isinstance(each, str) else each["source"] for each in services[name]["secrets"]}
        assert {"api_keys"} <= sources
        assert services[name]["environment"]["LONGTAIL_API_KEYS_FILE"] == "/run/secrets/api_keys"
        assert services[name]["environment"]["LONGTAIL_MODELS"] == "/models"
    assert services["prometheus"]["command"] == KEYS["services"]["prometheus"]["command"]
    assert services["replica"]["environment"]["LONGTAIL_DATABASE_PASSWORD_FILE"] == "/run/secrets/postgres_password"


def test_prometheus_with_a_key_differs_only_in_the_key() -> None:
    with_key = yaml.safe_load(WITH_KEYS.read_text())
    job = with_key["scrape_configs"][0]
    assert job.pop("authorization") == {"credentials_file": "/run/secrets/metrics_key"}
    assert with_key == PROMETHEUS
    flags = [flag for flag in SERVICES["prometheus"]["command"] if "config.file" not in flag]
    assert KEYS["services"]["prometheus"]["command"] == ["--config.file=/etc/prometheus/prometheus.keys.yml", *flags]
    assert KEYS["services"]["prometheus"]["secrets"] == ["metrics_key"]


def test_the_documented_commands_create_the_keys(tmp_path: Path) -> None:
    """Run the commands of docs/how-to/deploy.md with this Python instead of the image."""
    block = (ROOT / "docs" / "how-to" / "deploy.md").read_text().partition('keys="docker run')[2].partition("chmod")[0]
    commands = f'keys="{sys.executable} -m service.keys"\n' + block.partition("\n")[2].replace(
        "docker/secrets", str(tmp_path)
    )
    subprocess.run(["bash", "-euc", commands], cwd=ROOT, capture_output=True, check=True)
    keys = read_key_file(tmp_path / "api_keys")
    assert [(key.name, key.scopes) for key in keys] == [
        ("web", {"predict", "tune", "admin"}),
        ("prometheus", {"predict"}),
    ]
    assert find_key(keys, (tmp_path / "metrics_key").read_text().strip().encode()) == keys[1]


def test_promtool_accepts_the_configuration_with_a_key(tmp_path: Path) -> None:
    for file in (DOCKER / "prometheus").glob("*.yml"):
        (tmp_path / file.name).write_text(file.read_text().replace("/run/secrets", str(tmp_path)))
    (tmp_path / "metrics_key").write_text("lt_x")
    check = [program("promtool", "prometheus"), "check", "config", str(tmp_path / WITH_KEYS.name)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
