"""Feedback: a label becomes the interval of alpha on which its class wins, and is not lost."""

import asyncio
import json
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.context import Context
from service.feedback import kept_results as results
from service.result_ids import new_result_id
from service.storage.tables import feedback as table
from tests.service.conftest import CLASSIFY, Running, Service, picture
from tests.service.storage.databases import Postgres
from tests.tiny_bundle import write_tiny_bundle

pytestmark = pytest.mark.anyio
OLD = "0" * 11 + "1" + new_result_id()[12:]  # from 1970


async def classified(service: Service, seed: int = 1, query: str = "") -> str:
    answer = await service.classify(picture(seed), query)
    return str(answer.json()["results"][0]["id"])


async def give(service: Service, result_id: Any, label: Any) -> httpx.Response:
    return await service.client.post("/v1/feedback", json={"id": result_id, "label": label})


async def summary(service: Service, query: str = "") -> dict[str, Any]:
    answer = await service.client.get(f"/v1/models/tiny/feedback{query}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def context_of(service: Service) -> Context:
    context: Context = service.app.state.context
    return context


def rows(service: Service) -> list[Any]:
    return context_of(service).database.run_sync(lambda c: list(c.execute(table.select().order_by("time"))))


def invented(seconds_ago: float) -> str:
    """An id of the right form that belongs to no result."""
    return f"{int(1000 * (time.time() - seconds_ago)):012x}{new_result_id()[12:]}"


def hurry(service: Service) -> None:
    """Shorten the wait for results that another process may still have to write."""
    context_of(service).results.interval = 0.001


def advance_clock(service: Service, seconds: float) -> None:
    """Advance the service's clock."""
    context = context_of(service)
    now = context.results.clock()
    context.results.clock = context.feedback.clock = lambda: now + seconds


def outcome(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_the_interval_is_where_classify_names_the_label(running: Running, database_url: str) -> None:
    grid = np.linspace(-8, 8, 121)
    query = "?top_k=1&" + "&".join(f"alpha={alpha}" for alpha in grid)
    checked = 0
    async with running(real=True, database=database_url) as service:
        for seed in range(12):
            result = (await service.classify(picture(seed), query)).json()["results"][0]
            winners = np.array([p["classes"][0]["index"] for p in result["predictions"]])
            for label in range(5):
                ends = (await give(service, result["id"], label)).json()["interval"]
                low, high = (np.nan, np.nan) if ends is None else (
                    -np.inf if ends[0] is None else ends[0], np.inf if ends[1] is None else ends[1]
                )  # fmt: skip
                clear = (np.abs(grid - low) > 1e-4) & (np.abs(grid - high) > 1e-4) | (ends is None)
                inside = (low < grid) & (grid < high)
                assert np.array_equal((winners == label)[clear], inside[clear])
                checked += int(inside.sum())
    assert checked > 12 * 121 * 0.9


async def test_the_answer_repeats_the_label_and_its_result(running: Running) -> None:
    async with running(real=True) as service:
        result_id = await classified(service)
        by_name = await give(service, result_id, "class 4")
        by_index = await give(service, result_id, 4)
    assert by_name.json() == by_index.json()
    assert by_name.json().keys() == {"id", "model", "version", "label", "interval"}
    assert (by_name.json()["id"], by_name.json()["label"]) == (result_id, {"index": 4, "name": "class 4"})
    assert (by_name.json()["model"], by_name.json()["version"]) == ("tiny", 1)


async def test_repeating_changes_nothing_and_correcting_replaces(running: Running, database_url: str) -> None:
    async with running(database=database_url) as service:
        result_id = await classified(service)
        first = await give(service, result_id, 1)
        again = await give(service, result_id, 1)
        stored = rows(service)
        advance_clock(service, 5)
        assert again.json() == first.json() == (await give(service, result_id, 1)).json()
        assert rows(service) == stored
        await give(service, result_id, 0)
        corrected = rows(service)
    assert [row.label for row in corrected] == [0]
    assert corrected[0].time >= stored[0].time + 5


async def test_expired_unknown_and_invalid_ids_are_distinguished(running: Running) -> None:
    async with running(keep_results_seconds=60) as service:
        hurry(service)
        never = invented(40)
        result_id = await classified(service)
        assert outcome(await give(service, never, 1)) == (404, "unknown_result")
        assert outcome(await give(service, OLD, 1)) == (410, "expired_result")
        assert outcome(await give(service, "0", 1)) == (404, "unknown_result")
        assert (await give(service, result_id, 1)).status_code == 200
        advance_clock(service, 61)
        assert (await give(service, result_id, 1)).status_code == 200
        assert outcome(await give(service, result_id, 2)) == (410, "expired_result")
        assert outcome(await give(service, never, 1)) == (410, "expired_result")


async def test_results_beyond_the_number_kept_have_expired(running: Running, database_url: str) -> None:
    async with running(keep_results=10, database=database_url) as service:
        hurry(service)
        ids = []
        for seeds in (range(12), range(12, 25)):  # in two chunks, as whole ones go
            ids += [await classified(service, seed) for seed in seeds]
            await asyncio.sleep(0.001)  # an id of a later millisecond than all of these
            context_of(service).results.flush()
        context_of(service).results.delete_old()
        answers = [await give(service, result_id, 1) for result_id in (ids[0], ids[-1])]
        assert outcome(answers[0]) == (503, "storage_unavailable")  # another process may still have to write it
        assert answers[1].status_code == 200
        advance_clock(service, 31)
        assert outcome(await give(service, ids[0], 1)) == (410, "expired_result")
        assert outcome(await give(service, new_result_id(), 1)) == (404, "unknown_result")


async def test_a_server_that_keeps_no_results_says_so(running: Running) -> None:
    async with running(keep_results=0) as service:
        answer = await give(service, await classified(service), 1)
    assert outcome(answer) == (404, "unknown_result")
    assert "keeps no results" in answer.json()["error"]["message"]


async def test_another_process_takes_feedback_even_before_the_result_is_written(
    running: Running, database_url: str
) -> None:
    async with running(database=database_url) as one, running(database=database_url) as other:
        for seed in range(5):
            result_id = await classified(one, seed)
            assert (await give(other, result_id, 1)).status_code == 200
            assert (await give(one, result_id, 1)).status_code == 200
        assert (await summary(one))["labels"] == (await summary(other))["labels"] == 5


async def test_a_buffered_result_is_never_unknown_however_long_the_writer_waits(
    running: Running, new_sqlite: Callable[[], str]
) -> None:
    url = new_sqlite()
    async with running(database=url) as one, running(database=url) as other:
        hurry(other)
        held = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        held.execute("BEGIN IMMEDIATE")  # no other connection can write
        result_id = await classified(one)
        early = await give(other, result_id, 1)
        held.execute("ROLLBACK")
        held.close()
        await asyncio.to_thread(context_of(one).results.flush)
        assert (await give(other, result_id, 1)).status_code == 200
    assert outcome(early) == (503, "storage_unavailable")
    assert early.headers["Retry-After"] == "1"
    assert "may still have to write it" in early.json()["error"]["message"]


async def test_a_dropped_result_is_expired_not_unknown(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(results, "MAX_BUFFERED_RESULTS", 1)
    (tmp_path / "folder").touch()  # a file in place of the folder, so that nothing can be written
    async with running(database=f"sqlite:///{tmp_path / 'folder' / 'x.db'}") as service:
        hurry(service)
        dropped, kept = [await classified(service, seed) for seed in range(2)]
        (tmp_path / "folder").unlink()
        context = context_of(service)
        await asyncio.to_thread(context.database.migrate)
        advance_clock(service, 31)
        assert outcome(await give(service, dropped, 1)) == (410, "expired_result")
        assert (await give(service, kept, 1)).status_code == 200


async def test_each_label_of_a_list_has_its_own_outcome(running: Running, database_url: str) -> None:
    async with running(database=database_url) as service:
        hurry(service)
        one = await classified(service, 1)
        two = await classified(service, 2)
        body = [
            {"id": one, "label": 1},
            {"id": one, "label": "nobody"},
            {"id": invented(40), "label": 1},
            "text",
            {"id": two, "label": True},
            {"id": two, "label": "class 2"},
            {"id": one, "label": 3},
        ]
        answer = await service.client.post("/v1/feedback", json=body)
        labels = context_of(service).feedback.intervals("tiny", 1)[0]
    results = answer.json()["results"]
    assert answer.status_code == 200
    assert [r["error"]["code"] if "error" in r else r["label"]["index"] for r in results] == [
        1, "unknown_label", "unknown_result", "invalid_request", "invalid_request", 2, 3,
    ]  # fmt: skip
    assert [r["id"] for r in results] == [one, one, body[2]["id"], None, two, two, one]  # type: ignore[index]
    assert sorted(labels.tolist()) == [2, 3]


async def test_of_two_labels_for_a_result_the_later_one_counts(running: Running) -> None:
    async with running() as service:
        result_id = await classified(service)
        for labels in ([1, 2], [3, 2], [2, 3], [3, 3]):
            body = [{"id": result_id, "label": label} for label in labels]
            answer = await service.client.post("/v1/feedback", json=body)
            assert [each["label"]["index"] for each in answer.json()["results"]] == labels
            assert context_of(service).feedback.intervals("tiny", 1)[0].tolist() == labels[1:]


async def test_lists_of_the_same_results_in_any_order_at_once(running: Running, database_url: str) -> None:
    async with running(database=database_url) as service:
        ids = [await classified(service, seed) for seed in range(20)]
        posts = []
        for number in range(12):
            shuffled = random.Random(number).sample(ids, len(ids))
            body = [{"id": result_id, "label": number % 5} for result_id in shuffled]
            posts.append(service.client.post("/v1/feedback", json=body))
        answers = await asyncio.gather(*posts)
        assert (await summary(service))["labels"] == 20
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "invalid_request"),
        (b"{", 422, "invalid_request"),
        (b"\xff", 422, "invalid_request"),
        (b'"text"', 422, "invalid_request"),
        (b"null", 422, "invalid_request"),
        (b"{}", 422, "invalid_request"),
        (b'{"id": "ID"}', 422, "invalid_request"),
        (b'{"id": 1, "label": 1}', 422, "invalid_request"),
        (b'{"id": "ID", "label": NaN}', 422, "invalid_request"),
        (b'{"id": "ID", "label": 1.5}', 422, "invalid_request"),
        (b'{"id": "ID", "label": true}', 422, "invalid_request"),
        (b'{"id": "ID", "label": null}', 422, "invalid_request"),
        (b'{"id": "ID", "label": [1]}', 422, "invalid_request"),
        (b'{"id": "ID", "label": 1e30}', 422, "invalid_request"),
        (b'{"id": "ID", "label": 1, "lable": 2}', 422, "invalid_request"),
        (b'{"id": "ID", "label": 5}', 422, "unknown_label"),
        (b'{"id": "ID", "label": -1}', 422, "unknown_label"),
        (b'{"id": "ID", "label": 18446744073709551615}', 422, "unknown_label"),
        (b'{"id": "ID", "label": "CLASS 1"}', 422, "unknown_label"),
        (b'{"id": "ID", "label": "1"}', 422, "unknown_label"),
        (b'{"id": "ID", "label": ""}', 422, "unknown_label"),
        (b'{"id": "\\u0000", "label": 1}', 404, "unknown_result"),
        (b'{"id": "", "label": 1}', 404, "unknown_result"),
        (b"[" * 5000, 422, "invalid_request"),
        (b"[1," * 3 + b"1]", 422, "invalid_request"),
        (json.dumps([0] * 11).encode(), 413, "too_many_labels"),
        (b" " * 100_001, 413, "body_too_large"),
    ],
)
async def test_invalid_feedback_gets_a_message(running: Running, body: bytes, status: int, code: str) -> None:
    async with running(max_feedback=10, max_json_mb=0.1) as service:
        sent = body.replace(b"ID", (await classified(service)).encode())
        answer = await service.client.post(
            "/v1/feedback", content=sent, headers={"Content-Type": "application/json; charset=utf-8"}
        )
    assert outcome(answer) == (status, code)
    assert len(answer.json()["error"]["message"]) > 15


async def test_another_content_type_than_json_is_refused(running: Running) -> None:
    async with running() as service:
        for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
            answer = await service.client.post(
                "/v1/feedback", content=b'{"id": "x", "label": 1}', headers={"Content-Type": content_type}
            )
            assert outcome(answer) == (415, "unsupported_media_type")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.sampled_from([OLD, "class 1"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "label", "x"]), inner),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=60) | JSON.map(lambda tree: json.dumps(tree).encode()))
async def test_no_body_is_a_500(running: Running, body: bytes) -> None:
    async with running() as service:
        hurry(service)
        answer = await service.client.post("/v1/feedback", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code < 500
    assert {"error", "results", "label"} & answer.json().keys()


async def test_a_model_with_an_exempt_class_takes_no_feedback(running: Running, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "models", exempt_class=2)
    async with running(models=tmp_path / "models") as service:
        answer = await give(service, await classified(service), 1)
        assert (await summary(service))["labels"] == 0
    assert outcome(answer) == (422, "exempt_class")
    assert "'class 2'" in answer.json()["error"]["message"]


async def test_a_version_that_is_no_longer_served_takes_no_feedback(
    running: Running, tmp_path: Path, database_url: str
) -> None:
    write_tiny_bundle(tmp_path / "models", version=1)
    async with running(models=tmp_path / "models", database=database_url) as service:
        result_id = await classified(service)
    write_tiny_bundle(tmp_path / "models", version=2)
    async with running(models=tmp_path / "models", database=database_url) as service:
        answer = await give(service, result_id, 1)
    assert outcome(answer) == (409, "version_not_served")
    assert "version 2" in answer.json()["error"]["message"]


async def test_without_a_database_classification_continues(running: Running, tmp_path: Path) -> None:
    (tmp_path / "folder").touch()  # a file in place of the folder
    async with running(database=f"sqlite:///{tmp_path / 'folder' / 'x.db'}") as service:
        result_id = await classified(service)
        answers = [await give(service, result_id, 1), await service.client.get("/v1/models/tiny/feedback")]
        assert (await service.classify(picture(2))).status_code == 200
        metrics = (await service.client.get("/metrics")).text
    assert [outcome(answer) for answer in answers] == [(503, "storage_unavailable")] * 2
    assert answers[0].headers["Retry-After"] == "1"
    assert 'longtail_feedback_labels{model="tiny"}' not in metrics


async def test_a_database_that_is_unavailable_for_some_time(
    running: Running, postgres: Postgres, migrated_postgres: str
) -> None:
    url = postgres.create(migrated_postgres)
    name = url.rpartition("/")[2]
    async with running(database=url) as service:
        hurry(service)
        before = await classified(service, 1)
        assert (await give(service, before, 1)).status_code == 200
        postgres.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE usename = 'tester' AND pid <> pg_backend_pid()"
        )
        during = await classified(service, 2)
        assert outcome(await give(service, during, 1)) == (503, "storage_unavailable")
        postgres.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        assert (await give(service, during, 1)).status_code == 200
        assert (await summary(service))["labels"] == 2


async def test_the_documentation_page_has_examples_to_try(running: Running) -> None:
    async with running() as service:
        paths = (await service.client.get("/openapi.json")).json()["paths"]
        operation = paths["/v1/feedback"]["post"]
        content = operation["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            assert (await service.client.post("/v1/feedback", json=example["value"])).status_code in (200, 404, 410)
    assert {"200", "404", "409", "410", "413", "415", "422", "503"} <= operation["responses"].keys()
    assert paths["/v1/models/{model}/feedback"]["get"]["responses"].keys() >= {"200", "404", "422", "503"}


async def test_results_of_unreadable_pictures_take_no_label(running: Running) -> None:
    async with running() as service:
        hurry(service)
        form = [("files", ("a.png", picture(1))), ("files", ("b.png", b"broken"))]
        good, broken = (await service.client.post(CLASSIFY, files=form)).json()["results"]
        assert (await give(service, good["id"], 1)).status_code == 200
        advance_clock(service, 31)
        assert outcome(await give(service, broken["id"], 1)) == (404, "unknown_result")
