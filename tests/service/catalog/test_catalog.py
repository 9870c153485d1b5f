"""Models come and go, as clients see it. The folder is scanned often, so that no test waits long."""

import asyncio
import dataclasses
import logging
import secrets
import shutil
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from engines.base import EngineError
from models.bundle import Bundle
from models.manifest import OperatingPoint
from models.update import Revision, update_bundle
from service.catalog.load_commands import COMMANDS_VARIABLE
from service.context import Context
from service.errors import ModelLoadError, NotReadyError, UnknownModelError
from service.storage.tables import networks
from tests.service.conftest import CLASSIFY, Running, Service, picture
from tests.tiny_bundle import write_tiny_bundle

pytestmark = pytest.mark.anyio
WATCHED = {"watch_seconds": 0.01}
PNG = {"Content-Type": "image/png"}


async def until(condition: Callable[[], Any]) -> None:
    """Let the server run until a condition holds, up to the test's own time limit."""
    while not condition():
        await asyncio.sleep(0.005)


def context_of(service: Service) -> Context:
    context: Context = service.app.state.context
    return context


def versions(service: Service, name: str = "tiny") -> list[int]:
    return [served.version for served in context_of(service).registry.versions_of(name)]


async def label(service: Service, result_id: str) -> tuple[int, str]:
    answer = await service.client.post("/v1/feedback", json={"id": result_id, "label": 4})
    return answer.status_code, answer.json().get("error", {}).get("code", "")


def write_bad_bundle(root: Path, name: str = "tiny", version: int = 1) -> None:
    """Write a bundle with a damaged graph, atomically, so that it is never seen as good."""
    path = write_tiny_bundle(root.with_name(f"{root.name}-{secrets.token_hex(4)}"), name, version)
    (path / "model.onnx").write_bytes(b"no graph")
    (root / name).mkdir(parents=True, exist_ok=True)
    path.rename(root / name / str(version))


async def test_ready_once_there_is_a_model_and_while_another_is_loaded(running: Running, tmp_path: Path) -> None:
    release = threading.Event()
    release.set()
    async with running(models=tmp_path, loading=lambda _: release.wait(), **WATCHED) as service:

        async def ready() -> tuple[int, str]:
            answer = await service.client.get("/readyz")
            return answer.status_code, answer.json().get("error", {}).get("message", "")

        assert await ready() == (503, "no model is loaded yet: the models folder has no bundles at NAME/VERSION")
        assert (await service.client.get("/livez")).status_code == 200
        write_bad_bundle(tmp_path, "bad")
        await until(context_of(service).catalog.refused)
        assert (await ready())[1].startswith("no model is loaded yet: bundle bad/1: model.onnx is not the file")
        write_tiny_bundle(tmp_path)
        await until(lambda: versions(service))
        assert (await ready())[0] == 200
        release.clear()
        write_tiny_bundle(tmp_path, version=2)
        await until(lambda: "LOADING" in {each.state for each in context_of(service).catalog.index()})
        assert ((await ready())[0], (await service.classify(picture(1))).json()["version"]) == (200, 1)
        release.set()
        await until(lambda: versions(service) == [2])
        assert (await ready())[0] == 200


async def test_a_server_that_does_not_watch_its_folder_needs_a_model_at_start(running: Running, tmp_path: Path) -> None:
    write_bad_bundle(tmp_path, "bad")
    with pytest.raises(EngineError, match=r"no model is loaded yet: bundle bad/1: model\.onnx is not the file"):
        async with running(models=tmp_path, watch_seconds=0):
            pass


async def test_good_bundles_are_served_and_bad_ones_listed(
    running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for version in (1, 2):
        write_tiny_bundle(tmp_path, version=version)
    write_bad_bundle(tmp_path, version=3)
    (tmp_path / "tiny" / "next").mkdir()
    (tmp_path / "Other").mkdir()
    async with running(models=tmp_path) as service:
        listed = (await service.client.get("/v1/models")).json()
        described = (await service.client.get("/v1/models/tiny")).json()
    model = listed["models"][0]
    assert (model["version"], model["versions"], model["served_versions"]) == (2, [1, 2, 3], [2])
    assert [(each["name"], each["version"]) for each in listed["refused"]] == [
        ("Other", None), ("tiny", 3), ("tiny", "next")
    ]  # fmt: skip
    assert "model.onnx is not the file that was saved" in listed["refused"][1]["reason"]
    assert listed["refused"][1]["since"].endswith("Z")
    assert described["max_batch_images"] == 16
    assert "model tiny version 3 is refused: bundle tiny/3: model.onnx" in caplog.text


async def test_a_request_can_name_a_version(running: Running, tmp_path: Path) -> None:
    for version in (1, 2, 3):
        write_tiny_bundle(tmp_path, version=version, num_classes=version + 2)
    async with running(models=tmp_path, serve_versions=2) as service:
        answers = [await service.classify(picture(1), query) for query in ("", "?version=2", "?version=3")]
        missing = await service.classify(picture(1), "?version=1")
        points = await service.client.get("/v1/models/tiny/operating-points?version=2")
        described = await service.client.get("/v1/models/tiny?version=2")
        labels = [await label(service, answer.json()["results"][0]["id"]) for answer in answers[:2]]
    assert [answer.json()["version"] for answer in answers] == [3, 2, 3]
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "unknown_version")
    assert "version 1 of tiny is not in service; there are: 2, 3" in missing.text
    assert (points.json()["version"], len(described.json()["classes"])) == (2, 4)
    assert labels == [(200, ""), (422, "unknown_label")], "class 4 is one of version 3, not of version 2"


async def test_a_request_before_a_swap_is_answered_by_the_old_version(running: Running, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path)
    async with running(models=tmp_path, **WATCHED) as service:
        old = service.engines["tiny"]
        old.gate.clear()
        before = asyncio.create_task(service.classify(picture(1)))
        await asyncio.to_thread(old.running.acquire)
        write_tiny_bundle(tmp_path, version=2)
        await until(lambda: versions(service) == [2])
        after = await service.classify(picture(1))
        assert not before.done()
        old.gate.set()
        answer = (await before).json()
    assert (answer["version"], after.json()["version"]) == (1, 2)
    assert answer["results"][0]["predictions"][0]["classes"]


async def test_feedback_is_for_versions_in_service(running: Running, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path)
    async with running(models=tmp_path, serve_versions=2, **WATCHED) as service:
        ids = [(await service.classify(picture(n))).json()["results"][0]["id"] for n in range(2)]
        write_tiny_bundle(tmp_path, version=2)
        await until(lambda: versions(service) == [1, 2])
        while_served = await label(service, ids[0])
        shutil.rmtree(tmp_path / "tiny" / "1")
        await until(lambda: versions(service) == [2])
        afterwards = await label(service, ids[1])
        shutil.rmtree(tmp_path / "tiny")
        await until(lambda: versions(service) == [])
        of_none = await label(service, ids[1])
    assert (while_served, afterwards, of_none) == ((200, ""), *[(409, "version_not_served")] * 2)


async def test_a_removed_model_has_no_gauges(running: Running, tmp_path: Path) -> None:
    for name in ("tiny", "other"):
        write_tiny_bundle(tmp_path, name)
    async with running(models=tmp_path, **WATCHED) as service:
        await asyncio.to_thread(context_of(service).drift_monitor.refresh)
        before = (await service.client.get("/metrics")).text
        shutil.rmtree(tmp_path / "other")
        await until(lambda: not versions(service, "other"))
        after = (await service.client.get("/metrics")).text
    assert 'longtail_feedback_labels{model="other"}' in before
    assert 'longtail_feedback_labels{model="tiny"}' in after
    assert 'longtail_feedback_labels{model="other"}' not in after
    assert ("longtail_models 2.0" in before, "longtail_models 1.0" in after) == (True, True)
    assert 'longtail_model_loads_total{model="other",outcome="loaded"} 1.0' in after


async def test_the_points_of_a_changed_bundle_are_in_force(running: Running, tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path)

    def revise(bundle: Bundle) -> Revision:
        points = bundle.manifest.operating_points | {"tail": OperatingPoint(2.5, "measured again")}
        return Revision(dataclasses.replace(bundle.manifest, operating_points=points))

    async with running(models=tmp_path, **WATCHED) as service:
        first = context_of(service).registry.get("tiny")
        kept = (await service.classify(picture(1))).json()["results"][0]["id"]
        await service.client.put("/v1/models/tiny/operating-points/balanced", json={"alpha": 0.5})
        await asyncio.to_thread(update_bundle, path, revise)
        await until(lambda: context_of(service).registry.get("tiny") is not first)
        answer = await service.classify(picture(1), "?alpha=tail&alpha=balanced")
        labelled = await label(service, kept)
    assert [each["alpha"] for each in answer.json()["results"][0]["predictions"]] == [2.5, 0.5]
    assert labelled == (200, ""), "the network is the same, so its results are kept"


async def test_another_network_under_a_version_in_service_finds_no_data_of_the_old_one(
    running: Running, tmp_path: Path
) -> None:
    path = write_tiny_bundle(tmp_path / "models")
    other = write_tiny_bundle(tmp_path / "other", seed=1)
    async with running(models=tmp_path / "models", **WATCHED) as service:
        first = context_of(service).registry.get("tiny")
        old = service.engines["tiny"]
        kept = (await service.classify(picture(1))).json()["results"][0]["id"]
        assert (await label(service, kept))[0] == 200
        old.gate.clear()
        before = asyncio.create_task(service.classify(picture(2)))
        await asyncio.to_thread(old.running.acquire)
        path.rename(tmp_path / "old")
        other.rename(path)
        await until(lambda: context_of(service).registry.get("tiny") is not first)
        old.gate.set()
        late = (await before).json()["results"][0]["id"]
        await until(lambda: not context_of(service).feedback.intervals("tiny", 1)[0].size)
        await asyncio.to_thread(context_of(service).results.flush)
        found = context_of(service).database.run_sync(lambda c: context_of(service).results.find(c, [kept, late]))
    assert not found


async def test_a_network_is_recorded_later_if_the_database_is_unavailable(
    running: Running, tmp_path: Path, new_sqlite: Callable[[], str]
) -> None:
    url = new_sqlite()
    file = Path(url.removeprefix("sqlite:///"))
    moved = tmp_path / "moved.db"
    write_tiny_bundle(tmp_path)
    async with running(models=tmp_path, database=url, **WATCHED) as service:
        database = context_of(service).database
        database._engine.dispose()
        file.rename(moved)
        file.mkdir()
        write_tiny_bundle(tmp_path, version=2)
        await until(lambda: versions(service) == [2])
        assert (await service.classify(picture(1))).status_code == 200
        await until(lambda: not database.ready)
        file.rmdir()
        moved.rename(file)
        await until(lambda: database.ready)
        recorded = database.run_sync(lambda c: [row.version for row in c.execute(select(networks))])
    assert sorted(recorded) == [1, 2]


async def test_unload_and_load(running: Running, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path)
    async with running(models=tmp_path, **WATCHED) as service:
        catalog = context_of(service).catalog
        await catalog.unload("tiny")
        gone = await service.classify(picture(1))
        probe = await service.client.get("/readyz")
        states = [(each.name, each.version, each.state, each.reason) for each in catalog.index()]
        await catalog.load("tiny")
        back = await service.classify(picture(1))
        with pytest.raises(UnknownModelError, match="there is no model 'other'; there are: tiny"):
            await catalog.load("other")
        write_bad_bundle(tmp_path, version=2)
        with pytest.raises(ModelLoadError, match=r"bundle tiny/2: .*; version 1 stays in service"):
            await catalog.load("tiny")
    assert (gone.status_code, back.status_code, back.json()["version"]) == (404, 200, 1)
    assert (probe.status_code, probe.json()["error"]["message"]) == (503, "no model is loaded yet: tiny is unloaded")
    assert states == [("tiny", "1", "UNAVAILABLE", "unloaded; load it to have it served")]
    with pytest.raises(NotReadyError):
        await catalog.load("tiny")


async def test_all_processes_of_a_server_follow_a_command(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(COMMANDS_VARIABLE, str(tmp_path / "commands.json"))
    for name in ("tiny", "other"):
        write_tiny_bundle(tmp_path / "models", name)
    options = {"models": tmp_path / "models", "watch_seconds": 0}
    async with running(**options) as one, running(**options) as another:
        await context_of(one).catalog.unload("tiny")
        assert (versions(one), versions(another), versions(another, "other")) == ([], [], [1])
        async with running(**options) as later:
            assert versions(later) == []
        write_tiny_bundle(tmp_path / "models", "tiny", 2)
        await context_of(another).catalog.load("tiny")
        assert (versions(one), versions(another)) == ([2], [2])


async def test_a_tuning_job_ends_on_the_version_it_began_on(running: Running, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path)
    async with running(models=tmp_path, **WATCHED) as service:
        for number in range(3):
            answer = await service.classify(picture(number))
            await label(service, answer.json()["results"][0]["id"])
        jobs = context_of(service).jobs
        async with jobs._one_at_a_time:  # so that the job waits
            body = {"source": "feedback", "save_as": "night"}
            asking = asyncio.create_task(service.client.post("/v1/models/tiny/alpha/tune?wait=30", json=body))
            await until(lambda: jobs._open)
            write_tiny_bundle(tmp_path, version=2, seed=1)
            await until(lambda: versions(service) == [2])
        report = (await asking).json()
        names = (await service.client.get("/v1/models/tiny/operating-points")).json()["operating_points"]
    assert (report["version"], report["saved_as"], "night" in names) == (1, "night", False)


async def test_an_error_of_the_thread_is_logged_once_and_does_not_end_it(
    running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(COMMANDS_VARIABLE, str(tmp_path / "commands.json"))
    write_tiny_bundle(tmp_path / "models")
    async with running(models=tmp_path / "models", **WATCHED) as service:
        (tmp_path / "commands.json").write_text("{")
        await until(lambda: "the models folder is not watched" in caplog.text)
        with pytest.raises(ValueError, match="Expecting"):
            await context_of(service).catalog.load("tiny")
        assert (await service.client.post(CLASSIFY, content=picture(1), headers=PNG)).status_code == 200
        (tmp_path / "commands.json").unlink()
        await context_of(service).catalog.load("tiny")
    assert len([each for each in caplog.records if each.levelno == logging.ERROR]) == 1


async def test_a_replaced_model_is_freed_without_further_requests(running: Running, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path)
    async with running(models=tmp_path, **WATCHED) as service:
        await asyncio.gather(*(service.classify(picture(number)) for number in range(20)))
        served = weakref.ref(context_of(service).registry.get("tiny"))
        write_tiny_bundle(tmp_path, version=2)
        await until(lambda: served() is None)
    assert versions(service) == [2]
