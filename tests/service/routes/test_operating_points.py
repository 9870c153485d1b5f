"""Operating points: a change holds from the next request on, in every process that shares the database."""

import asyncio
import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.bundle import Bundle
from service.storage import operating_points, point_changes
from service.storage.database import Database
from service.storage.operating_points import SPREAD_SECONDS, OperatingPoints
from tests.service.conftest import CLASSIFY, Running, Service, picture
from tests.service.server.test_process import PNG, server
from tests.service.storage.databases import PASSWORD, Postgres

pytestmark = pytest.mark.anyio
POINTS = "/v1/models/tiny/operating-points"


async def put(service: Service, name: str, alpha: float, status: int = 200, **more: str) -> httpx.Response:
    answer = await service.client.put(f"{POINTS}/{name}", json={"alpha": alpha} | more)
    assert answer.status_code == status, answer.text
    return answer


async def alpha_of(service: Service, query: str = "") -> float:
    answer = (await service.classify(picture(1), query)).json()
    return float(answer["results"][0]["predictions"][0]["alpha"])


async def poll(service: Service) -> None:
    await asyncio.to_thread(service.app.state.context.operating_points.poll)


async def test_an_invalid_name_is_refused_with_either_database(running: Running, database_url: str) -> None:
    async with running(database=database_url) as service:
        answers = [await service.client.request(how, f"{POINTS}/a%00b") for how in ("GET", "DELETE")]
    codes = [(answer.status_code, answer.json()["error"]["code"]) for answer in answers]
    assert codes == [(404, "unknown_operating_point")] * 2


async def test_a_change_is_in_force_at_the_next_request(running: Running, database_url: str) -> None:
    async with running(database=database_url) as service:
        answer = await put(service, "balanced", 0.7, who="ada", why="night", chosen_by="feedback")
        assert [await alpha_of(service), await alpha_of(service, "?alpha=balanced")] == [0.7, 0.7]
        await put(service, "night-shift", 3)
        assert await alpha_of(service, "?alpha=night-shift") == 3
        detail = (await service.client.get("/v1/models/tiny")).json()["operating_points"]
        listed = (await service.client.get("/v1/models")).json()["models"][0]["operating_points"]
        points = (await service.client.get(POINTS)).json()
        feedback = (await service.client.get("/v1/models/tiny/feedback")).json()
    since = answer.json()["since"]
    stored = {"alpha": 0.7, "chosen_by": "feedback", "source": "stored", "since": since}
    assert answer.json() == {"model": "tiny", "version": 1, "name": "balanced"} | stored
    assert detail == points["operating_points"]
    assert detail["balanced"] == stored
    assert detail["tail"] == {"alpha": 2.0, "chosen_by": "for tests: 2.0", "source": "bundle", "since": None}
    assert (listed["balanced"], listed["night-shift"], detail["night-shift"]["chosen_by"]) == (0.7, 3, "set by hand")
    assert feedback["in_force"] == {"name": "balanced", "alpha": 0.7}


async def test_a_server_that_shares_the_database_sees_a_change_after_one_refresh(
    running: Running, database_url: str
) -> None:
    async with running(database=database_url) as one, running(database=database_url) as other:
        await put(one, "balanced", 0.7)
        await poll(other)
        assert await alpha_of(other) == 0.7
        await other.client.delete(f"{POINTS}/balanced")
        await poll(one)
        assert await alpha_of(one) == 1.5


async def test_the_answer_waits_until_every_process_has_had_time_to_refresh(
    running: Running, database_url: str
) -> None:
    async with running(database=database_url) as one, running(database=database_url) as other:
        one.app.state.context.operating_points.spread_seconds = SPREAD_SECONDS
        await put(one, "balanced", 0.7)
        assert await alpha_of(other) == 0.7


async def test_stored_points_survive_a_restart(running: Running, database_url: str) -> None:
    async with running(database=database_url) as service:
        await put(service, "balanced", 0.7)
        await put(service, "mine", 0.25)
    async with running(database=database_url) as service:
        assert [await alpha_of(service), await alpha_of(service, "?alpha=mine")] == [0.7, 0.25]


async def test_every_change_is_kept_with_who_when_why_and_the_alpha_before(running: Running, database_url: str) -> None:
    async with running(database=database_url) as service:
        await put(service, "balanced", 0.7, who="ada", why="night", chosen_by="feedback")
        await put(service, "balanced", 0.8)
        await service.client.delete(f"{POINTS}/balanced", params={"who": "bob", "why": "day"})
        await put(service, "balanced", 0.9)
        history = (await service.client.get(f"{POINTS}/balanced")).json()["history"]
    columns = [[change[key] for change in history] for key in ("alpha", "from_alpha", "who", "why", "chosen_by")]
    assert columns == [
        [0.9, None, 0.8, 0.7],
        [1.5, 0.8, 0.7, 1.5],
        ["anonymous", "bob", "anonymous", "ada"],
        ["", "day", "", "night"],
        ["set by hand", "", "set by hand", "feedback"],
    ]
    times = [change["time"] for change in history]
    assert times == sorted(times, reverse=True)
    assert all(time.endswith("Z") for time in times)


async def test_a_removed_point_still_has_its_history(running: Running, database_url: str) -> None:
    async with running(database=database_url) as service:
        await put(service, "night", 0.7, who="ada")
        await service.client.delete(f"{POINTS}/night", params={"who": "bob"})
        past = await service.client.get(f"{POINTS}/night")
        never = await service.client.get(f"{POINTS}/day")
    assert (past.status_code, never.status_code) == (200, 404)
    assert past.json().keys() == {"model", "version", "name", "in_force", "history"}
    assert past.json()["in_force"] is None
    assert [(change["alpha"], change["who"]) for change in past.json()["history"]] == [(None, "bob"), (0.7, "ada")]


async def test_a_body_with_many_unknown_fields_is_refused_by_the_first(running: Running) -> None:
    body = json.dumps({f"field {number}": number for number in range(40_000)})
    header = {"Content-Type": "application/json"}
    async with running() as service:
        many = await service.client.put(f"{POINTS}/x", content=body, headers=header)
        deep = await service.client.put(f"{POINTS}/x", json={"alpha": [[1] * 100_000]})
        large = await service.client.put(f"{POINTS}/x", content=body + " " * 10**6, headers=header)
    assert [answer.json()["error"]["code"] for answer in (many, deep, large)] == [
        "invalid_request", "invalid_request", "body_too_large",
    ]  # fmt: skip
    assert "unknown parameter 'field 0' in the JSON body; known: " in many.json()["error"]["message"]
    assert deep.json()["error"]["message"].endswith("not a list")
    assert "exceeds 1 MB" in large.json()["error"]["message"]


async def test_removing_a_stored_point_restores_the_bundles_own_if_there_is_one(running: Running) -> None:
    async with running() as service:
        await put(service, "tail", 0.7)
        await put(service, "mine", 0.25)
        tail = await service.client.delete(f"{POINTS}/tail")
        mine = await service.client.delete(f"{POINTS}/mine")
        again = await service.client.delete(f"{POINTS}/mine")
        unknown = await service.classify(picture(1), "?alpha=mine")
    bundles = {"alpha": 2.0, "chosen_by": "for tests: 2.0", "source": "bundle", "since": None}
    assert tail.json() == {"model": "tiny", "version": 1, "name": "tail", "in_force": bundles}
    assert mine.json()["in_force"] is None
    assert again.json()["error"]["code"] == "unknown_operating_point"
    assert "there are: head, label_free, balanced, tail" in again.json()["error"]["message"]
    assert unknown.json()["error"]["code"] == "alpha_invalid"


async def test_head_is_always_the_plain_classifier(running: Running) -> None:
    async with running() as service:
        answers = [
            await put(service, "head", 0.5, 409),
            await service.client.delete(f"{POINTS}/head"),
            await service.client.delete(f"{POINTS}/balanced"),
        ]
        assert await alpha_of(service, "?alpha=head") == 0
    assert [(a.status_code, a.json()["error"]["code"]) for a in answers] == [(409, "operating_point_fixed")] * 3


REFUSED: dict[str, tuple[str, str, bytes, int, str]] = {
    "name upper": ("PUT", "Night", b'{"alpha": 1}', 422, "operating_point_name_invalid"),
    "name number": ("PUT", "1.5", b'{"alpha": 1}', 422, "operating_point_name_invalid"),
    "name nan": ("PUT", "nan", b'{"alpha": 1}', 422, "operating_point_name_invalid"),
    "name exponent": ("PUT", "1e3", b'{"alpha": 1}', 422, "operating_point_name_invalid"),
    "name long": ("PUT", "a" * 65, b'{"alpha": 1}', 422, "operating_point_name_invalid"),
    "name newline": ("PUT", "a%0A", b'{"alpha": 1}', 422, "operating_point_name_invalid"),
    "name NUL": ("PUT", "a%00", b'{"alpha": 1}', 422, "operating_point_name_invalid"),
    "name no UTF-8": ("PUT", "%ff", b'{"alpha": 1}', 422, "operating_point_name_invalid"),
    "name dots": ("PUT", "..%2f..", b'{"alpha": 1}', 404, "not_found"),
    "unknown": ("GET", "nope%00", b"", 404, "unknown_operating_point"),
    "unknown to delete": ("DELETE", "n" * 5000, b"", 404, "unknown_operating_point"),
    "alpha NaN": ("PUT", "a", b'{"alpha": NaN}', 422, "invalid_request"),
    "alpha infinite": ("PUT", "a", b'{"alpha": 1e400}', 422, "invalid_request"),
    "alpha huge": ("PUT", "a", b'{"alpha": 1e300}', 422, "alpha_out_of_range"),
    "alpha out of range": ("PUT", "a", b'{"alpha": -100.1}', 422, "alpha_out_of_range"),
    "alpha many digits": ("PUT", "a", b'{"alpha": %s}' % (b"9" * 5000), 422, "invalid_request"),
    "alpha text": ("PUT", "a", b'{"alpha": "1"}', 422, "invalid_request"),
    "alpha true": ("PUT", "a", b'{"alpha": true}', 422, "invalid_request"),
    "alpha null": ("PUT", "a", b'{"alpha": null}', 422, "invalid_request"),
    "alpha missing": ("PUT", "a", b"{}", 422, "invalid_request"),
    "no object": ("PUT", "a", b"1", 422, "invalid_request"),
    "no JSON": ("PUT", "a", b"alpha=1", 422, "invalid_request"),
    "empty": ("PUT", "a", b"", 422, "invalid_request"),
    "nested": ("PUT", "a", b"[" * 100_000, 422, "invalid_request"),
    "another field": ("PUT", "a", b'{"alpha": 1, "alhpa": 2}', 422, "invalid_request"),
    "who long": ("PUT", "a", b'{"alpha": 1, "who": "%s"}' % (b"w" * 101), 422, "invalid_request"),
    "who empty": ("PUT", "a", b'{"alpha": 1, "who": ""}', 422, "invalid_request"),
    "who NUL": ("PUT", "a", rb'{"alpha": 1, "who": "a\u0000"}', 422, "invalid_request"),
    "why two lines": ("PUT", "a", rb'{"alpha": 1, "why": "a\nb"}', 422, "invalid_request"),
    "why a number": ("PUT", "a", b'{"alpha": 1, "why": 7}', 422, "invalid_request"),
    "chosen_by half a character": ("PUT", "a", rb'{"alpha": 1, "chosen_by": "\ud800"}', 422, "invalid_request"),
    "too large": ("PUT", "a", b'{"alpha": 1, "why": "%s"}' % bytes(20_000), 413, "body_too_large"),
    "delete who long": ("DELETE", "balanced?who=" + "w" * 101, b"", 422, "invalid_request"),
    "delete why two lines": ("DELETE", "balanced?why=a%0Ab", b"", 422, "invalid_request"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
async def test_an_invalid_change_is_refused_with_a_message(
    running: Running, case: tuple[str, str, bytes, int, str]
) -> None:
    method, path, body, status, code = case
    headers = {"Content-Type": "application/json"}
    async with running(max_json_mb=0.015 if code == "body_too_large" else 1) as service:
        answer = await service.client.request(method, f"{POINTS}/{path}", content=body, headers=headers)
        points = (await service.client.get(POINTS)).json()["operating_points"]
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert 15 < len(answer.json()["error"]["message"]) < 600
    assert list(points) == ["head", "label_free", "balanced", "tail"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside, max_size=3),
    max_leaves=6,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(st.sampled_from("ab0.-_%2fé"), min_size=1, max_size=6),
    body=st.fixed_dictionaries({"alpha": JSON | st.floats(-100, 100)}, optional={"who": JSON, "why": JSON, "x": JSON}),
)
async def test_no_bad_point_is_a_500(running: Running, name: str, body: Any) -> None:
    async with running() as service:
        answer = await service.client.put(
            f"{POINTS}/{name}", content=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        detail = await service.client.get("/v1/models/tiny")
    assert answer.status_code < 500
    assert detail.status_code == 200


async def test_a_body_without_the_json_content_type_is_refused(running: Running) -> None:
    async with running() as service:
        answer = await service.client.put(f"{POINTS}/balanced", content=b'{"alpha": 1}')
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")


async def test_classification_works_if_the_database_is_down_from_the_start(
    running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "folder").touch()  # a file with the name that a folder should have
    async with running(database=f"sqlite:///{tmp_path / 'folder' / 'x.db'}") as service:
        refused = [await put(service, "balanced", 1, 503), await service.client.get(f"{POINTS}/balanced")]
        assert await alpha_of(service, "?alpha=balanced") == 1.5
        assert (await service.client.get(POINTS)).status_code == 200
        assert (await service.client.get("/readyz")).status_code == 200
    assert [(a.status_code, a.json()["error"]["code"]) for a in refused] == [(503, "storage_unavailable")] * 2
    assert refused[0].headers["Retry-After"] == "1"
    assert "starting without the database" in caplog.text


async def test_the_points_read_last_stay_in_force_if_the_database_goes_down(
    running: Running, postgres: Postgres, migrated_postgres: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgres.create(migrated_postgres)
    name = url.rpartition("/")[2]
    async with running(database=url) as service:
        await put(service, "balanced", 0.7)
        postgres.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name)
        refused = [await put(service, "balanced", 1, 503), await service.client.delete(f"{POINTS}/balanced")]
        assert await alpha_of(service) == 0.7
        postgres.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await put(service, "balanced", 0.9)
        assert await alpha_of(service) == 0.9
    assert [answer.status_code for answer in refused] == [503, 503]
    assert PASSWORD not in caplog.text + refused[0].text


async def test_a_database_that_comes_up_after_the_start_brings_its_points(
    running: Running, postgres: Postgres, migrated_postgres: str
) -> None:
    url = postgres.create(migrated_postgres)
    name = url.rpartition("/")[2]
    async with running(database=url) as service:
        await put(service, "balanced", 0.7)
    postgres.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    async with running(database=url) as service:
        assert await alpha_of(service) == 1.5
        postgres.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await asyncio.to_thread(service.app.state.context.database._ready.wait, 30)
        await poll(service)
        assert await alpha_of(service) == 0.7


async def test_the_history_is_bounded_and_so_is_the_number_of_points(
    tiny_bundle: Bundle, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(point_changes, "MAX_CHANGES", 3)
    monkeypatch.setattr(point_changes, "MAX_POINTS", 2)
    points = OperatingPoints(database)
    manifest = tiny_bundle.manifest
    points.spread_seconds = 0.0
    for step in range(5):
        await points.set(manifest, "balanced", step / 10, chosen_by="x", who="y", why="z")
    await points.set(manifest, "other", 1, chosen_by="x", who="y", why="z")
    with pytest.raises(operating_points.TooManyOperatingPointsError, match="has 2 stored points; remove one first"):
        await points.set(manifest, "third", 1, chosen_by="x", who="y", why="z")
    assert [change.alpha for change in await points.history(manifest, "balanced")] == [0.4, 0.3, 0.2]
    await points.remove(manifest, "other", who="y", why="z")
    for name in "abc":
        await points.set(manifest, name, 1, chosen_by="x", who="y", why="z")
        await points.remove(manifest, name, who="y", why="z")
    kept = [name for name in ("other", *"abc") if await points.history(manifest, name)]
    assert kept == ["b", "c"]


async def test_concurrent_changes_form_one_history(tiny_bundle: Bundle, database_url: str) -> None:
    manifest = tiny_bundle.manifest
    databases = [Database(database_url) for _ in range(3)]
    everyone = [OperatingPoints(database) for database in databases]

    def change(number: int) -> None:
        points = everyone[number % 3]
        points.spread_seconds = 0.0
        asyncio.run(points.set(manifest, "balanced", float(number), chosen_by="x", who="y", why="z"))
        points.poll()

    for database in databases:
        database.migrate()
    with ThreadPoolExecutor(6) as threads:
        await asyncio.to_thread(lambda: list(threads.map(change, range(30))))
    for points in everyone:
        points.poll()
    history = await everyone[0].history(manifest, "balanced")
    assert [each.from_alpha for each in history] == [*(each.alpha for each in history[1:]), 1.5]
    assert [points.get(manifest, "balanced").alpha for points in everyone] == [history[0].alpha] * 3
    for database in databases:
        database.close()


@pytest.mark.slow
def test_points_survive_a_killed_server_and_a_change_reaches_every_process(
    tiny_bundle: Bundle, new_sqlite: Callable[[], str]
) -> None:
    flags = ("--database", new_sqlite())

    def alphas(url: str, times: int) -> list[float]:
        found = []
        for _ in range(times):
            with httpx.Client(
                transport=httpx.HTTPTransport(retries=20)
            ) as client:  # each client opens a new connection, to either process
                answer = client.post(f"{url}{CLASSIFY}?alpha=balanced", content=picture(1), headers=PNG, timeout=60)
                found.append(answer.json()["results"][0]["predictions"][0]["alpha"])
        return found

    with server(tiny_bundle, *flags) as (process, url):
        httpx.put(f"{url}{POINTS}/balanced", json={"alpha": 0.125}, timeout=60).raise_for_status()
        process.kill()
    with server(tiny_bundle, *flags, "--workers", "2") as (process, url):
        assert alphas(url, 4) == [0.125] * 4
        for alpha in (0.25, 0.5, 0.75):
            httpx.put(f"{url}{POINTS}/balanced", json={"alpha": alpha}, timeout=60).raise_for_status()
            assert alphas(url, 10) == [alpha] * 10
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
