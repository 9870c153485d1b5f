"""How the server shuts down: on a signal, after a failure, and when it or its supervisor is killed."""

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from models.bundle import Bundle
from service.keys import new_key
from service.server.graceful_server import FAILED, NOT_LIVE_SECONDS
from tests.service.conftest import CLASSIFY, picture
from tests.service.server.test_process import PNG, ROOT, command, free_port

pytestmark = pytest.mark.slow
MAX_SECONDS = 40.0


@contextmanager
def server(bundle: Bundle, folder: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    """Start a server; yield its process, its address and its log once it is ready."""
    port = free_port()
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command(bundle, "--port", str(port), *flags), cwd=ROOT, stderr=file)
    try:
        workers = int(dict(itertools.pairwise(flags)).get("--workers", "1"))
        until(lambda: log.read_text().count("Application startup complete") == workers)
        until(lambda: status(f"http://127.0.0.1:{port}/readyz") == 200)
        yield process, f"http://127.0.0.1:{port}", log
    finally:
        for child in children(process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition is true."""
    deadline = time.monotonic() + MAX_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def status(url: str) -> int:
    """The status of the answer, 0 if the server does not answer."""
    try:
        return httpx.get(url, timeout=5).status_code
    except httpx.TransportError:
        return 0


def children(parent: int) -> list[int]:
    """The ids of a supervisor's server processes, without the resource tracker that Python starts."""
    found = subprocess.run(
        ["pgrep", "-P", str(parent), "-f", "spawn_main"], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


@contextmanager
def half_a_request(url: str) -> Iterator[socket.socket]:
    """Send half of a request and yield its connection once the server has read that half."""
    host, _, port = url.removeprefix("http://").partition(":")
    data = picture(1)
    head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + data[:10])
        until(lambda: "longtail_body_bytes 10.0" in httpx.get(f"{url}/metrics").text)
        yield connection


class Load:
    """Clients that classify the same few pictures without a pause, and count right and other answers."""

    def __init__(self, url: str, clients: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self._expected = [
            self._results(httpx.post(f"{url}{CLASSIFY}", content=picture(s), headers=PNG)) for s in range(5)
        ]
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._classify, args=(number,)) for number in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _classify(self, seed: int) -> None:
        while not self._stop.is_set():
            try:
                with httpx.Client(base_url=self._url, headers=PNG, timeout=20) as client:
                    while not self._stop.is_set():
                        seed += 1
                        answer = client.post(CLASSIFY, content=picture(seed % 5))
                        right = answer.status_code == 200 and self._results(answer) == pytest.approx(
                            self._expected[seed % 5], abs=1e-3
                        )
                        self.outcomes["right" if right else f"{answer.status_code} {answer.text[:200]}"] += 1
            except httpx.TransportError:
                self.outcomes["broken connection"] += 1

    @staticmethod
    def _results(answer: httpx.Response) -> dict[int, float]:
        """The probabilities, which tell one picture from another; they round differently in batches of other sizes."""
        (prediction,) = answer.json()["results"][0]["predictions"]
        return {entry["index"]: entry["probability"] for entry in prediction["classes"]}


def test_in_the_grace_period_the_server_is_not_ready_but_answers(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with server(tiny_bundle, tmp_path, "--grace-seconds", "2") as (process, url, _):
        process.send_signal(signal.SIGTERM)
        until(lambda: status(f"{url}/readyz") == 503)
        assert httpx.post(f"{url}{CLASSIFY}", content=picture(1), headers=PNG).status_code == 200
        assert status(f"{url}/livez") == 200
        assert process.wait(MAX_SECONDS) == 0
        assert status(f"{url}/livez") == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_accepted_requests_are_answered_after_sigterm(tiny_bundle: Bundle, tmp_path: Path, workers: str) -> None:
    with server(tiny_bundle, tmp_path, "--workers", workers) as (process, url, log):
        with half_a_request(url) as connection:
            process.send_signal(signal.SIGTERM)
            until(lambda: status(f"{url}/livez") == 0)
            connection.sendall(picture(1)[10:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert process.wait(MAX_SECONDS) == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(("workers", "code"), [("1", 128 + signal.SIGTERM), ("2", signal.SIGKILL)])
def test_a_second_signal_ends_the_server_at_once(tiny_bundle: Bundle, tmp_path: Path, workers: str, code: int) -> None:
    with server(tiny_bundle, tmp_path, "--workers", workers) as (process, url, log):
        with half_a_request(url):
            process.send_signal(signal.SIGTERM)
            until(lambda: status(f"{url}/livez") == 0)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == code
        text = log.read_text()
    assert "second signal: " in text
    assert " at once" in text
    assert "Traceback" not in text


def test_ctrl_c_reaches_all_processes_and_counts_once(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with server(tiny_bundle, tmp_path, "--workers", "2") as (process, url, log):
        with half_a_request(url) as connection:
            for pid in (*children(process.pid), process.pid):
                os.kill(pid, signal.SIGINT)
            until(lambda: status(f"{url}/livez") == 0)
            connection.sendall(picture(1)[10:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert process.wait(MAX_SECONDS) == 0
    assert "Traceback" not in log.read_text()


def test_a_process_that_is_killed_under_load_is_replaced_and_no_answer_is_wrong(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    with server(tiny_bundle, tmp_path, "--workers", "2") as (process, url, log):
        before = set(children(process.pid))
        assert len(before) == 2
        with Load(url, clients=6) as load:
            until(lambda: load.outcomes["right"] > 200)
            os.kill(min(before), signal.SIGKILL)
            until(lambda: len(set(children(process.pid)) - before) == 1 and "died" in log.read_text())
            answered = load.outcomes["right"]
            until(lambda: log.read_text().count("Application startup complete") >= 3)
            until(lambda: load.outcomes["right"] > answered + 200)
        metrics = httpx.get(f"{url}/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(MAX_SECONDS) == 0
    assert load.outcomes.keys() <= {"right", "broken connection"}
    assert load.outcomes["broken connection"] <= 6
    assert re.search(r"^longtail_pending_images_limit 1024.0$", metrics, re.MULTILINE)
    assert re.search(r"^longtail_pending_images 0.0$", metrics, re.MULTILINE)


def test_processes_shut_down_when_their_supervisor_dies(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with server(tiny_bundle, tmp_path, "--workers", "2") as (process, url, log):
        pids = children(process.pid)
        with half_a_request(url) as connection:
            process.kill()
            process.wait()
            until(lambda: status(f"{url}/livez") == 0)
            connection.sendall(picture(1)[10:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert "Traceback" not in log.read_text()


def test_the_supervisor_gives_up_if_processes_cannot_start(tiny_bundle: Bundle, tmp_path: Path) -> None:
    _, line = new_key("a", ["predict"])
    keys = tmp_path / "keys"
    keys.write_text(line)
    flags = ("--workers", "2", "--api-keys-file", str(keys))
    with server(tiny_bundle, tmp_path, *flags) as (process, _, log):
        keys.unlink()
        for pid in children(process.pid):
            os.kill(pid, signal.SIGKILL)
        assert process.wait(3 * MAX_SECONDS) == FAILED
        assert "processes in a row died within 20 s of their start" in log.read_text()


def test_a_process_whose_event_loop_hangs_is_replaced(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with server(tiny_bundle, tmp_path, "--workers", "2") as (process, url, log):
        process.send_signal(signal.SIGHUP)  # is ignored
        stopped = min(children(process.pid))
        os.kill(stopped, signal.SIGSTOP)
        until(lambda: "died" in log.read_text())
        assert stopped not in children(process.pid)
        until(lambda: log.read_text().count("Application startup complete") >= 3)
        assert status(f"{url}/readyz") == 200


HANGING = """
import sys
from pathlib import Path
from service.app import create_app
from engines.fake import FakeEngine
from service.catalog.loader import loader
from service.server.launch import serve
from service.settings import Settings

engines = []
def make(bundle):
    engines.append(FakeEngine(bundle))
    return engines[-1]

settings = Settings(models=Path(sys.argv[1]), database=sys.argv[2], port=int(sys.argv[3]), stuck_seconds=1)
app = create_app(settings, loader(settings, make))
for engine in engines:
    engine.gate.clear()
sys.exit(serve(app, settings))
"""


def test_a_process_with_a_hanging_thread_reports_it_and_exits_to_be_replaced(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    port = free_port()
    arguments = (str(tiny_bundle.path.parent.parent), f"sqlite:///{tmp_path}/x.db", str(port))
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, "-c", HANGING, *arguments], cwd=ROOT, stderr=subprocess.PIPE) as process:
        try:
            until(lambda: status(f"{url}/readyz") == 200)
            answer = httpx.post(f"{url}{CLASSIFY}", content=picture(1), headers=PNG, timeout=20)
            assert (answer.status_code, answer.json()["error"]["code"]) == (500, "inference_failed")
            assert status(f"{url}/livez") == status(f"{url}/readyz") == 503
            assert process.wait(NOT_LIVE_SECONDS + MAX_SECONDS) == FAILED
            assert process.stderr is not None
            assert b"exiting, to be replaced: thread inference-" in process.stderr.read()
        finally:
            process.kill()
