"""The server as a process: how it starts, refuses to start, answers and exits."""

import io
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image

from engines import onnx as onnx_engine
from engines.base import EngineError
from models.bundle import Bundle
from tests.service.conftest import CLASSIFY, picture
from tests.tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).parents[3]
PNG = {"Content-Type": "image/png"}


def command(bundle: Bundle, *flags: str) -> list[str]:
    root = bundle.path.parent.parent
    return [sys.executable, "-m", "service", "--models", str(root), "--database", f"sqlite:///{root}.db", *flags]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def slow_picture() -> bytes:
    """A small file with many pixels, which takes some tens of milliseconds to decode."""
    file = io.BytesIO()
    Image.new("RGB", (2500, 2500), (1, 2, 3)).save(file, "PNG")
    return file.getvalue()


@contextmanager
def server(bundle: Bundle, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server; yield its process and its address. It is killed at the end if it is still running."""
    port = free_port()
    log = subprocess.PIPE
    process = subprocess.Popen(command(bundle, "--port", str(port), *flags), cwd=ROOT, stderr=log, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "running on http" in line:  # libpq's errors contain "running on that host"
                break
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"LONGTAIL_DATABASE": f"sqlite:///{folder}/x.db"} | environment
        return subprocess.run(
            [sys.executable, "-m", "service", *arguments],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )


def test_sigterm_answers_accepted_requests_and_exits_with_0(tiny_bundle: Bundle) -> None:
    files = [("files", (str(i), slow_picture())) for i in range(10)]
    with server(tiny_bundle) as (process, url), httpx.Client() as client, ThreadPoolExecutor(4) as threads:
        posts = [threads.submit(httpx.post, url + CLASSIFY, files=files, timeout=100) for _ in range(4)]
        while "longtail_pending_images 40.0" not in client.get(f"{url}/metrics").text:
            assert not any(post.done() for post in posts), "answered before all were accepted; make the picture slower"
        process.send_signal(signal.SIGTERM)
        answers = [post.result() for post in posts]
        assert process.wait(timeout=60) == 0
    assert all(answer.status_code == 200 and len(answer.json()["results"]) == 10 for answer in answers)


def test_clients_that_disconnect_leave_nothing_behind(tiny_bundle: Bundle) -> None:
    data = picture(1)
    head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(data)}\r\n\r\n"
    request = head.encode() + data
    with server(tiny_bundle) as (process, url):
        for part in (request, request[:-20], request[:30]) * 30:
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
                connection.sendall(part)
        answer = httpx.post(url + CLASSIFY, content=data, headers=PNG, timeout=60)
        while "longtail_pending_images 0.0" not in (metrics := httpx.get(f"{url}/metrics").text):
            pass
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=60)[1]
    assert answer.status_code == 200
    assert "internal_error" not in metrics
    assert (process.returncode, "Traceback" in log) == (0, False)


@pytest.mark.slow
def test_two_processes_answer_behind_one_port_and_add_up_their_metrics(tiny_bundle: Bundle) -> None:
    with server(tiny_bundle, "--workers", "2") as (process, url):
        for number in range(12):
            transport = httpx.HTTPTransport(retries=20)
            with httpx.Client(transport=transport) as client:  # a new connection each, so that both processes get one
                assert client.post(url + CLASSIFY, content=picture(number), headers=PNG, timeout=60).status_code == 200
        text = httpx.get(f"{url}/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert re.search(r'^longtail_images_total{model="tiny"} 12\.0$', text, re.MULTILINE)


def test_check_lists_the_models(tiny_bundle: Bundle) -> None:
    done = run("--check", "--models", str(tiny_bundle.path.parent.parent))
    assert done.returncode == 0
    assert "tiny version 1: 5 classes, 8x8 px, ONNX Runtime" in done.stdout


def test_check_names_every_bundle_that_is_refused(tmp_path: Path) -> None:
    for version in (1, 2):
        write_tiny_bundle(tmp_path, version=version)
    (tmp_path / "tiny" / "2" / "model.onnx").write_bytes(b"no graph")
    (tmp_path / "Other").mkdir()
    done = run("--check", "--models", str(tmp_path))
    assert done.returncode == 2
    assert "tiny version 1: 5 classes" in done.stdout
    assert "error: tiny/2 is refused: bundle tiny/2: model.onnx is not the file that was saved" in done.stderr
    assert "error: Other is refused: not a model name" in done.stderr
    assert "ok:" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["--models", "/nowhere"], {}, "nowhere"),
        (
            [],
            {"LONGTAIL_DATABASE": "mysql://me:hunter2@host/x"},
            "LONGTAIL_DATABASE (--database) is refused: only SQLite",
        ),
        ([], {"LONGTAIL_PROT": "9000"}, "unknown setting LONGTAIL_PROT; did you mean LONGTAIL_PORT?"),
        (["--port", "x"], {}, "LONGTAIL_PORT (--port) is 'x'"),
        (["--device", "cuda", "--models", "MODELS"], {}, "asked for CUDA"),
    ],
)
def test_a_server_that_cannot_start_says_why_and_exits_with_2(
    tiny_bundle: Bundle, arguments: list[str], environment: dict[str, str], sentence: str
) -> None:
    arguments = [str(tiny_bundle.path.parent.parent) if a == "MODELS" else a for a in arguments]
    done = run("--check", *arguments, **environment)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_a_database_of_a_later_longtail_is_refused(tiny_bundle: Bundle, new_sqlite: Callable[[], str]) -> None:
    url = new_sqlite()
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    done = run("--check", "--models", str(tiny_bundle.path.parent.parent), "--database", url)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "error: the database is at migration 9999, which this version of Longtail does not know" in done.stderr


def test_an_unreachable_database_is_reported_without_its_password(tiny_bundle: Bundle) -> None:
    unreachable = "postgresql://me:hunter2@127.0.0.1:9/x"
    done = run("--check", "--models", str(tiny_bundle.path.parent.parent), LONGTAIL_DATABASE=unreachable)
    assert done.returncode == 0
    assert "starting without the database" in done.stderr
    assert "database postgresql://me:***@127.0.0.1:9/x: NOT reachable" in done.stdout
    assert "hunter2" not in done.stderr + done.stdout


def test_an_empty_models_folder_that_is_not_watched_is_refused(tmp_path: Path) -> None:
    done = run("--models", str(tmp_path), "--watch-seconds", "0")
    assert (done.returncode, "no bundles" in done.stderr) == (2, True)


@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_a_taken_port_is_an_error_before_models_are_loaded(tiny_bundle: Bundle, flags: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            command(tiny_bundle, "--port", str(port := taken.getsockname()[1]), *flags),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert f"error: HTTP cannot listen on 127.0.0.1:{port}: address already in use" in done.stderr
    assert "--port" in done.stderr
    assert "is loaded" not in done.stderr


def test_one_port_for_http_and_grpc_is_refused() -> None:
    done = run("--port", (port := str(free_port())), "--grpc-port", port)
    assert done.returncode == 2
    assert f"error: --port and --grpc-port are both {port}; give each its own port" in done.stderr


def test_both_onnxruntime_packages_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_engine.metadata, "version", lambda _: "1.32.0")
    with pytest.raises(EngineError, match=r"both onnxruntime 1\.32\.0 and onnxruntime-gpu 1\.32\.0 are installed"):
        onnx_engine.check_packages()


@pytest.mark.parametrize("below", ["tiny", "tiny/1"])
def test_a_models_folder_one_level_too_low_ends_the_start_with_the_right_path(tiny_bundle: Bundle, below: str) -> None:
    root = tiny_bundle.path.parent.parent
    done = run("--models", str(root / below), "--port", str(free_port()))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {root / below} is ")
    assert done.stderr.rstrip().endswith(f"up, {root}")
