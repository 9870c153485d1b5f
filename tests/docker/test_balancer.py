"""HAProxy as shipped, in front of two services that share a PostgreSQL database; replicas stop and die under load."""

import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from models.bundle import Bundle
from tests.docker.programs import (
    COMPOSE,
    DOCKER,
    NAMES_AT,
    Names,
    eventually,
    free_port,
    names,
    program,
    replica,
    started,
)
from tests.service.conftest import CLASSIFY, picture
from tests.service.server.test_process import PNG
from tests.service.storage.databases import PASSWORD, Postgres

pytestmark = pytest.mark.slow
FIRST = "127.0.0.62"
SECOND = "127.0.0.63"
LATER = "127.0.0.64"
PICTURES = [picture(seed) for seed in range(20)]
CLIENTS = 6
POINTS = "/v1/models/tiny/operating-points"
# The compose file's settings, without those that depend on the place; the test sets these itself.
SETTINGS = {
    name: value
    for name, value in COMPOSE["services"]["replica"]["environment"].items()
    if name not in {"LONGTAIL_MODELS", "LONGTAIL_DATABASE", "LONGTAIL_DATABASE_PASSWORD_FILE"}
}


@dataclass
class Site:
    """A balancer's URL, the name server's table, and a function that starts a replica."""

    url: str
    metrics: str
    names: Names
    start: Callable[[str], None]
    replicas: "dict[str, subprocess.Popen[str]]" = field(default_factory=dict)

    def client(self, address: str = "") -> httpx.Client:
        """Return a client of the balancer, or of one replica if an address is given."""
        return httpx.Client(base_url=f"http://{address}:8000" if address else self.url, timeout=30, trust_env=False)

    def has(self, count: int = 2) -> bool:
        """Return whether the balancer has `count` replicas."""
        try:
            text = httpx.get(self.metrics, trust_env=False).text
        except httpx.HTTPError:
            return False
        return len(re.findall(r'^haproxy_server_status{proxy="replicas",.*state="UP"} 1$', text, re.MULTILINE)) == count


@pytest.fixture
def site(tiny_bundle: Bundle, postgres: Postgres, migrated_postgres: str, tmp_path: Path) -> Iterator[Site]:
    """Start two replicas behind the balancer and wait until they are ready."""
    haproxy = program("haproxy", "haproxy")
    listen, metrics = (f"127.0.0.1:{free_port()}" for _ in range(2))
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    environment = SETTINGS | {
        "LONGTAIL_DATABASE": postgres.create(migrated_postgres).replace(f":{PASSWORD}@", "@"),
        "LONGTAIL_DATABASE_PASSWORD_FILE": str(tmp_path / "password"),
        "LONGTAIL_CACHE_MB": "0",  # every picture runs through the network
    }
    with ExitStack() as stack:

        def start(address: str) -> None:
            running = replica(address, tiny_bundle.path.parent.parent, environment)
            made.replicas[address] = stack.enter_context(running)

        table = stack.enter_context(names(replica=[FIRST, SECOND]))
        made = Site(f"http://{listen}", f"http://{metrics}/metrics", table, start)
        for address in (FIRST, SECOND):
            start(address)
        where = {"DNS": f"{NAMES_AT}:53", "LISTEN": listen, "METRICS": metrics}
        stack.enter_context(started([haproxy, "-f", DOCKER / "haproxy.cfg", "-db"], tmp_path / "haproxy.log", **where))
        eventually(lambda: made.has(2), "the balancer has both replicas")
        yield made


@dataclass
class Load:
    """The outcome of the requests so far: the number of right answers, and a text for each failure."""

    right: int = 0
    failed: list[str] = field(default_factory=list)

    def wait_for_answers(self, count: int = 200) -> None:
        """Wait for `count` more right answers."""
        enough = self.right + count
        eventually(lambda: self.right >= enough, f"{count} more right answers; failed: {self.failed[:5]}")


@contextmanager
def load(site: Site) -> Iterator[Load]:
    """Run clients that classify through the balancer, one request at a time each, and check every answer."""
    with site.client(FIRST) as client:
        expected = [classified(client, data).json()["results"][0]["predictions"] for data in PICTURES]
    outcome = Load()
    over = threading.Event()

    def ask(number: int) -> None:
        with site.client() as client:
            while not over.is_set():
                number = (number + 1) % len(PICTURES)
                try:
                    answer = classified(client, PICTURES[number])
                except httpx.HTTPError as error:
                    outcome.failed.append(repr(error))
                    continue
                if answer.status_code != 200:
                    outcome.failed.append(f"{answer.status_code} {answer.text[:200]}")
                elif same(answer.json()["results"][0]["predictions"], expected[number]):
                    outcome.right += 1
                else:
                    outcome.failed.append(f"wrong: {answer.text}")

    with ThreadPoolExecutor(CLIENTS) as threads:
        asking = [threads.submit(ask, number) for number in range(CLIENTS)]
        try:
            outcome.wait_for_answers()
            yield outcome
        finally:
            over.set()
    for each in asking:
        each.result()


def classified(client: httpx.Client, data: bytes) -> httpx.Response:
    return client.post(CLASSIFY, content=data, headers=PNG, params={"alpha": [0.0, 1.5]})


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    """Return whether two answers agree; batches of different sizes may change a logit's last digits."""
    classes = [[(p["alpha"], c["name"]) for p in each for c in p["classes"]] for each in (one, other)]
    logits = [[c["logit"] for p in each for c in p["classes"]] for each in (one, other)]
    return classes[0] == classes[1] and logits[0] == pytest.approx(logits[1], abs=1e-3)


def test_operating_points_and_feedback_are_shared(site: Site) -> None:
    with site.client() as balanced, site.client(FIRST) as first, site.client(SECOND) as second:
        assert balanced.put(f"{POINTS}/mine", json={"alpha": 0.7, "who": "ada", "why": "test"}).status_code == 200
        for client in (first, second):
            eventually(lambda client=client: client.get(f"{POINTS}/mine").json().get("alpha") == 0.7, "it is there")
        results = [classified(first, data).json()["results"][0]["id"] for data in PICTURES]
        given = second.post("/v1/feedback", json=[{"id": each, "label": 0} for each in results])
        assert given.status_code == 200, given.text
        assert [c.get("/v1/models/tiny/feedback").json()["labels"] for c in (first, second, balanced)] == [20] * 3


def test_both_replicas_get_requests_and_a_third_is_found_by_its_name(site: Site) -> None:
    with load(site) as sent:
        site.names["replica"] = [FIRST, SECOND, LATER]
        site.start(LATER)
        eventually(lambda: site.has(3), "the balancer has the third")
        sent.wait_for_answers()
        for address in (FIRST, SECOND, LATER):
            with site.client(address) as client:
                count = re.search(r"^longtail_images_total.* (\S+)$", client.get("/metrics").text, re.MULTILINE)
                assert float(count[1]) > len(PICTURES)
    assert sent.failed == []


def test_a_killed_replica_loses_only_its_requests_in_flight(site: Site) -> None:
    with load(site) as sent:
        site.replicas[SECOND].kill()
        eventually(lambda: site.has(1), "the balancer has noticed")
        sent.wait_for_answers()
        broken = list(sent.failed)
        site.names["replica"] = [FIRST]
        sent.wait_for_answers()
    assert len(broken) <= CLIENTS
    gone = ("502 ", "RemoteProtocolError")  # HAProxy closes a connection that has had an answer before
    assert all(each.startswith(gone) for each in broken), broken
    assert sent.failed == broken


def test_a_stopping_replica_fails_no_request(site: Site) -> None:
    with load(site) as sent:
        site.replicas[SECOND].send_signal(signal.SIGTERM)
        assert site.replicas[SECOND].wait(timeout=60) == 0
        sent.wait_for_answers()
    assert sent.failed == []


def test_a_database_restart_interrupts_no_classification(site: Site, postgres: Postgres) -> None:
    with load(site) as sent, site.client() as client:
        before = classified(client, PICTURES[0]).json()["results"][0]["id"]
        eventually(lambda: label(client, before) == 200, "a label is taken")
        postgres.stop()
        try:
            assert label(client, before) == 503
            sent.wait_for_answers()
        finally:
            postgres.start_again()
        for address in (FIRST, SECOND):
            with site.client(address) as one:
                eventually(lambda one=one: label(one, before) == 200, "labels are taken again")
        sent.wait_for_answers()
    assert sent.failed == []


def label(client: httpx.Client, result: str) -> int:
    return client.post("/v1/feedback", json={"id": result, "label": 1}).status_code


class Unreliable(BaseHTTPRequestHandler):
    """A replica that is ready, accepts every request and closes the connection without an answer."""

    received: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        self.received.append(self.path)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def test_no_request_is_sent_twice(tmp_path: Path) -> None:
    haproxy = program("haproxy", "haproxy")
    listen, metrics = (f"127.0.0.1:{free_port()}" for _ in range(2))
    where = {"DNS": f"{NAMES_AT}:53", "LISTEN": listen, "METRICS": metrics}
    Unreliable.received.clear()
    with ExitStack() as stack:
        for address in (FIRST, SECOND):
            server = stack.enter_context(ThreadingHTTPServer((address, 8000), Unreliable))
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        table = stack.enter_context(names(replica=[FIRST, SECOND]))
        stack.enter_context(started([haproxy, "-f", DOCKER / "haproxy.cfg", "-db"], tmp_path / "log", **where))
        eventually(Site(f"http://{listen}", f"http://{metrics}/metrics", table, print).has, "both are seen")
        answers = [httpx.post(f"http://{listen}/{number}", trust_env=False).status_code for number in range(10)]
    assert answers == [502] * 10
    assert sorted(Unreliable.received) == [f"/{number}" for number in range(10)]


def test_the_balancer_notices_before_a_stopping_replica_stops_listening() -> None:
    text = (DOCKER / "haproxy.cfg").read_text()
    inter, fall = re.search(r"default-server check inter (\d+)s .*fall (\d+)", text).groups()
    check = re.search(r"timeout check (\d+)s", text)[1]
    assert int(inter) * int(fall) + int(check) < float(SETTINGS["LONGTAIL_GRACE_SECONDS"])
