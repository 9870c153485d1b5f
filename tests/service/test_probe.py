"""The health check of a container: 0 where the service is ready, 1 and a sentence where it is not."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from models.bundle import Bundle
from service.probe import default_url, main, problem
from tests.service.server.test_process import server

ROOT = Path(__file__).parents[2]


def test_a_service_that_is_ready_is_0(tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    with server(tiny_bundle) as (_, url):
        assert main([f"{url}/readyz"]) == 0
        assert capsys.readouterr().err == ""
        assert main([f"{url}/v1/models/none"]) == 1
        assert "404" in capsys.readouterr().err


def test_nobody_there_is_1_and_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["http://127.0.0.1:9/readyz"]) == 1
    assert "http://127.0.0.1:9/readyz: no answer: " in capsys.readouterr().err


def test_a_server_that_hangs_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert problem(f"http://127.0.0.1:{silent.getsockname()[1]}/readyz", 0.05) == "no answer: timed out"


@pytest.mark.parametrize("url", ["readyz", "ftp://127.0.0.1/", "http://", "http://127.0.0.1:port/"])
def test_what_is_no_address_is_said(url: str) -> None:
    assert problem(url, 1) is not None


def test_it_asks_where_the_service_listens() -> None:
    assert default_url({}) == "http://127.0.0.1:8000/readyz"
    assert default_url({"LONGTAIL_HOST": "::", "LONGTAIL_PORT": "9"}) == "http://127.0.0.1:9/readyz"
    assert default_url({"LONGTAIL_HOST": "127.0.0.2"}) == "http://127.0.0.2:8000/readyz"


def test_it_says_how_it_is_used_and_loads_next_to_nothing() -> None:
    code = "import sys, service.probe; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not set(loaded.split()) & {"numpy", "fastapi", "pydantic", "models", "uvicorn", "asyncio"}
    usage = [sys.executable, "-m", "service.probe", "--help"]
    assert "/readyz" in subprocess.run(usage, cwd=ROOT, capture_output=True, text=True, check=True).stdout
