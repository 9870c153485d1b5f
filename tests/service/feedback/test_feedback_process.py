"""Feedback with a real server: killed at any moment, or several processes behind one port."""

import random
import signal
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

import httpx
import pytest

from models.bundle import Bundle
from service.feedback.store import read_intervals
from service.storage.database import Database
from service.storage.tables import feedback
from tests.service.conftest import CLASSIFY, picture
from tests.service.server.test_process import PNG, server

FORM = [("files", (f"{seed}.png", picture(seed))) for seed in range(16)]


def stored(database_url: str) -> dict[str, Any]:
    database = Database(database_url)
    database.migrate()
    rows = {row.result_id: row for row in database.run_sync(lambda c: c.execute(feedback.select()).all())}
    database.close()
    return rows


def send_labels(url: str, seed: int, acknowledged: dict[str, dict[str, Any]]) -> None:
    """Classify and send labels, singly and in lists, until the server ends; note every acknowledged label."""
    labels = random.Random(seed)
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            while True:
                results = client.post(CLASSIFY, files=FORM).json()["results"]
                items = [{"id": result["id"], "label": labels.randrange(5)} for result in results]
                for item in items[:8]:
                    answer = client.post("/v1/feedback", json=item)
                    assert answer.status_code == 200
                    acknowledged[item["id"]] = answer.json()
                answers = client.post("/v1/feedback", json=items[8:]).json()["results"]
                acknowledged.update({answer["id"]: answer for answer in answers})
    except httpx.TransportError:
        return


@pytest.mark.slow
def test_a_killed_server_loses_no_acknowledged_label(tiny_bundle: Bundle, database_url: str) -> None:
    acknowledged: dict[str, dict[str, Any]] = {}
    for turn in range(2):
        with server(tiny_bundle, "--database", database_url) as (process, url), ThreadPoolExecutor(4) as threads:
            before = len(acknowledged)
            sending = [threads.submit(send_labels, url, 4 * turn + i, acknowledged) for i in range(4)]
            while len(acknowledged) < before + 150 + 37 * turn:
                assert not wait(sending, 0.01, FIRST_COMPLETED).done
            process.kill()
            for thread in sending:
                thread.result()
    rows = stored(database_url)
    assert len(acknowledged) > 300
    assert acknowledged.keys() <= rows.keys()
    for result_id, answer in acknowledged.items():
        row = rows[result_id]
        assert (row.label, row.model, row.version) == (answer["label"]["index"], "tiny", 1)
        ends = None if row.low is None else [None if abs(end) == float("inf") else end for end in (row.low, row.high)]
        assert ends == answer["interval"]


@pytest.mark.slow
def test_several_processes_take_labels_for_each_others_results(
    tiny_bundle: Bundle, new_sqlite: Callable[[], str]
) -> None:
    database_url = new_sqlite()
    with server(tiny_bundle, "--database", database_url, "--workers", "2") as (process, url):
        for seed in range(12):
            with httpx.Client(transport=httpx.HTTPTransport(retries=20), timeout=60) as client:
                answer = client.post(url + CLASSIFY, content=picture(seed), headers=PNG).json()
            with httpx.Client(transport=httpx.HTTPTransport(retries=20), timeout=60) as client:
                given = client.post(f"{url}/v1/feedback", json={"id": answer["results"][0]["id"], "label": seed % 5})
            assert given.status_code == 200, given.text
        said = httpx.get(f"{url}/v1/models/tiny/feedback").json()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    database = Database(database_url)
    database.migrate()
    labels, _ = database.run_sync(lambda c: read_intervals(c, "tiny", 1, None, None))
    database.close()
    assert said["labels"] == 12
    assert labels.tolist() == [seed % 5 for seed in range(12)]
