"""A network that replaces another one under the same name and version does not get its data."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from models.bundle import load_bundle
from service.catalog.networks import Network, network_of, record_networks
from service.storage.database import Database
from service.storage.tables import feedback, kept_chunks, operating_point_changes
from tests.service.conftest import Running, Service, picture
from tests.tiny_bundle import write_tiny_bundle

pytestmark = pytest.mark.anyio
POINTS = "/v1/models/tiny/operating-points"
READS = ("/v1/models/tiny/feedback", "/v1/models/tiny/alpha/curve?source=feedback")


async def use(service: Service) -> str:
    """Classify, label and store two points, and return the result's id."""
    result_id = (await service.classify(picture(1))).json()["results"][0]["id"]
    assert (await service.client.post("/v1/feedback", json={"id": result_id, "label": 4})).status_code == 200
    for name in ("balanced", "night"):
        assert (await service.client.put(f"{POINTS}/{name}", json={"alpha": 0.5})).status_code == 200
    return str(result_id)


def counts(database: Database) -> list[int]:
    tables = (kept_chunks, feedback, operating_point_changes)
    return database.run_sync(lambda c: [c.scalar(select(func.count()).select_from(table)) or 0 for table in tables])


async def test_another_network_under_the_same_name_and_version_starts_without_data(
    running: Running, tmp_path: Path, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_tiny_bundle(tmp_path / "old")
    write_tiny_bundle(tmp_path / "new", num_classes=3)
    async with running(models=tmp_path / "old", database=database_url) as service:
        result_id = await use(service)
    async with running(models=tmp_path / "new", database=database_url) as service:
        reads = [await service.client.get(path) for path in READS]
        label = await service.client.post("/v1/feedback", json={"id": result_id, "label": 1})
        points = (await service.client.get(POINTS)).json()["operating_points"]
        past = (await service.client.get(f"{POINTS}/night")).json()
        assert counts(service.app.state.context.database)[:2] == [0, 0]
    assert [reads[0].json()["labels"], reads[1].status_code, label.status_code] == [0, 404, 503]
    assert (points["balanced"]["source"], "night" in points) == ("bundle", False)
    assert (past["history"][0]["who"], past["history"][0]["from_alpha"]) == ("longtail", 0.5)
    assert past["history"][0]["why"] == "another network came under this name and version"
    assert "deleted 1 kept results and 1 labels of the old one; no longer in force: balanced, night" in caplog.text


async def test_the_same_network_and_another_version_lose_nothing(
    running: Running, tmp_path: Path, database_url: str
) -> None:
    for folder, version in (("same", 1), ("next", 2)):
        write_tiny_bundle(tmp_path / folder, version=version)
    for folder in ("same", "next", "same"):
        async with running(models=tmp_path / folder, database=database_url) as service:
            if folder == "same":
                await use(service)
            await asyncio.to_thread(service.app.state.context.results.flush)
            kept = counts(service.app.state.context.database)
    assert kept == [2, 2, 4]


async def test_networks_are_recorded_before_a_late_database_is_used(
    running: Running, tmp_path: Path, new_sqlite: Callable[[], str]
) -> None:
    write_tiny_bundle(tmp_path / "old")
    write_tiny_bundle(tmp_path / "new", num_classes=3)
    url = new_sqlite()
    path = Path(url.removeprefix("sqlite:///"))
    moved = tmp_path / "moved.db"
    async with running(models=tmp_path / "old", database=url) as service:
        await use(service)
    path.rename(moved)
    path.mkdir()  # a folder in place of the file
    async with running(models=tmp_path / "new", database=url) as service:
        database = service.app.state.context.database
        assert not database.ready
        path.rmdir()
        moved.rename(path)
        assert await asyncio.to_thread(database._ready.wait, 30)
        assert counts(database)[:2] == [0, 0]


def test_only_weights_and_classes_identify_a_network(tmp_path: Path) -> None:
    first = load_bundle(write_tiny_bundle(tmp_path / "a")).manifest
    for folder, options in (("b", {"seed": 1}), ("c", {"num_classes": 4})):
        other = load_bundle(write_tiny_bundle(tmp_path / folder, **options)).manifest
        assert network_of(other).sha256 != network_of(first).sha256
    first.metrics["note"] = "another"
    assert network_of(first) == network_of(load_bundle(tmp_path / "a" / "tiny" / "1").manifest)


def test_of_several_processes_that_start_at_once_one_deletes_the_old_data(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(4)]

    def start(database: Database, sha256: str) -> None:
        database.migrate()
        database.start(lambda connection: record_networks(connection, [Network("tiny", 1, sha256)], 1.0))
        assert database.ready

    start(databases[0], "old")
    point = {
        "model": "tiny",
        "version": 1,
        "name": "x",
        "alpha": 1.0,
        "chosen_by": "",
        "who": "",
        "why": "",
        "time": 0.0,
    }
    databases[0].run_sync(lambda c: c.execute(operating_point_changes.insert(), point))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda each: start(each, "new"), databases))
    assert counts(databases[0]) == [0, 0, 2]
    for each in databases:
        each.close()
