"""A real nginx with the documented configuration before the service: no request is lost, and any prefix works."""

import re
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from models.bundle import Bundle
from service.server.graceful_server import Server
from tests.docker.programs import ROOT, eventually, free_port, program, started
from tests.service.browser import CHROMIUM, chromium
from tests.service.conftest import CLASSIFY, picture
from tests.service.server.live import live
from tests.service.server.test_process import PNG

pytestmark = pytest.mark.slow
PREFIX = "/longtail"
PICTURE = picture(1)
MAIN = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log info;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
  {site}
}}
"""


def documented() -> str:
    """The configuration in the documentation."""
    (found,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs" / "how-to" / "deploy.md").read_text(), re.DOTALL)
    return str(found)


@contextmanager
def nginx(folder: Path, *ports: int, idle: str = "60s") -> Iterator[httpx.Client]:
    """Run nginx with the documented configuration; yield a client that speaks TLS to it, at the prefix."""
    path = program("nginx", "nginx")
    openssl = program("openssl", "openssl")
    files = ("-keyout", "key.pem", "-out", "cert.pem")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", *files]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    listen = free_port()
    servers = "\n".join(f"server 127.0.0.1:{port};" for port in ports)
    site = documented().replace("server 127.0.0.1:8000;", servers).replace("listen 443", f"listen 127.0.0.1:{listen}")
    site = site.replace("keepalive 16;", f"keepalive 16; keepalive_timeout {idle};")
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, site=site))
    with started([path, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")], folder / "nginx.log"):
        url = f"https://127.0.0.1:{listen}{PREFIX}"
        with httpx.Client(base_url=url, verify=False, timeout=30, trust_env=False) as client:  # noqa: S501  self-signed
            eventually(lambda: answers(client), "nginx answers")
            yield client


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@dataclass
class Load:
    """What clients got for their POSTs."""

    right: int
    failed: list[str]


def post_until(over: threading.Event, url: httpx.URL, pause: float) -> Load:
    """Classify again and again, with a pause after each answer."""
    load = Load(0, [])
    with httpx.Client(base_url=url, verify=False, timeout=30, trust_env=False) as client:  # noqa: S501  self-signed
        while not over.is_set():
            answer = client.post(CLASSIFY, content=PICTURE, headers=PNG)
            if answer.status_code == 200:
                load.right += 1
            else:
                load.failed.append(f"{answer.status_code} {answer.text[:100]}")
            over.wait(pause)
    return load


def test_no_post_becomes_a_502_when_nginx_drops_idle_connections(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Each pause ends about when nginx gives up the connection, a second or more before the service does."""
    over = threading.Event()
    with (
        live(tiny_bundle, tmp_path, keep_alive_seconds=1, cache_mb=0) as (address, _),
        nginx(tmp_path, address[1], idle="1s") as client,
        ThreadPoolExecutor(16) as threads,
    ):
        pauses = [0.0, 0.1, *(0.97 + 0.005 * step for step in range(14))]
        loads = [threads.submit(post_until, over, client.base_url, pause) for pause in pauses]
        over.wait(6)
        over.set()
        done = [load.result() for load in loads]
    assert [failure for load in done for failure in load.failed] == []
    assert min(load.right for load in done) >= 4


def test_connections_are_used_again(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with live(tiny_bundle, tmp_path) as (address, server), nginx(tmp_path, address[1]) as client:
        known = set(server.server_state.connections)
        for _ in range(20):
            assert client.post(CLASSIFY, content=PICTURE, headers=PNG).status_code == 200
        assert set(server.server_state.connections) == known
        assert len(known) == 1


@pytest.mark.parametrize("grace", [0, 1])
def test_a_service_that_stops_under_load_loses_no_request(tiny_bundle: Bundle, tmp_path: Path, grace: int) -> None:
    """nginx sends to another service what this one cannot have read; a POST that it may have read would be a 502."""
    over = threading.Event()
    with ExitStack() as stack:
        running: list[tuple[int, Server]] = []
        for name in ("a", "b"):
            folder = tmp_path / name
            folder.mkdir()
            address, server = stack.enter_context(live(tiny_bundle, folder, grace_seconds=grace, cache_mb=0))
            running.append((address[1], server))
        client = stack.enter_context(nginx(tmp_path, *[port for port, _ in running]))
        threads = stack.enter_context(ThreadPoolExecutor(4))
        loads = [threads.submit(post_until, over, client.base_url, 0.0) for _ in range(4)]
        over.wait(1)
        running[0][1].leave()
        eventually(lambda: not running[0][1].server_state.connections, "the first service has no connections")
        over.wait(1)
        over.set()
        done = [load.result() for load in loads]
    lost = [failure for load in done for failure in load.failed]
    assert len(lost) <= (0 if grace else 4)  # without a grace period, one for each connection that is closed in use
    assert sum(load.right for load in done) > 40


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/", "/v1/models/tiny/", "/docs", "/docs/", "/"])
def test_every_address_works_behind_tls_and_a_prefix(tiny_bundle: Bundle, tmp_path: Path, path: str) -> None:
    with live(tiny_bundle, tmp_path) as (address, _), nginx(tmp_path, address[1]) as client:
        for method in ("GET", "HEAD"):
            answer = client.request(method, path, follow_redirects=True)
            assert answer.status_code == 200
            assert answer.url.scheme == "https"
            assert answer.url.path.startswith(f"{PREFIX}/")
            assert bool(answer.content) is (method == "GET")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the pages are not opened behind a prefix")
def test_the_pages_work_behind_tls_and_a_prefix(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with (
        live(tiny_bundle, tmp_path) as (address, _),
        nginx(tmp_path, address[1]) as client,
        chromium() as browser,
        browser.new_context(ignore_https_errors=True) as context,
    ):
        url = str(client.base_url)
        page = context.new_page()
        failed: list[str] = []
        page.on("response", lambda answer: answer.status < 400 or failed.append(f"{answer.status} {answer.url}"))
        page.goto(url)
        page.wait_for_selector("#scale span")
        for docs in ("docs", "docs/"):
            page.goto(f"{url}{docs}")
            page.locator("#operations-models-list_models_v1_models_get, [id*=list_models]").first.click()
            page.get_by_role("button", name="Execute").click()
            shown = page.locator(".request-url pre").inner_text()
            assert shown == f"{url}v1/models"
            page.wait_for_selector(".live-responses-table .response .response-col_status")
    assert [each for each in failed if "/alpha/curve?" not in each] == []  # the bundle has none
