"""Jobs: queued, running and ended; the process that ran one may have ended too."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from models.errors import TuningError
from service.errors import OverloadedError, StorageUnavailableError, UnknownJobError
from service.jobs import runner as runner_module
from service.jobs import store as store_module
from service.jobs.job import Job, Progress, Work
from service.jobs.runner import JobRunner
from service.jobs.store import KEEP_SECONDS, JobStore
from service.storage.database import Database

pytestmark = pytest.mark.anyio


class Held:
    """Work that runs until the test releases it."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.started = asyncio.Event()

    async def __call__(self, progress: Progress) -> dict[str, Any]:
        progress.total = 10
        self.started.set()
        await self.go.wait()
        progress.done = 10
        return {"alpha": 1.5}


async def at_once(_: Progress) -> dict[str, Any]:
    return {"alpha": 0.5}


@pytest.fixture
async def jobs(database: Database) -> AsyncIterator[JobRunner]:
    running = JobRunner(JobStore(database))
    yield running
    await running.close()


async def submit(jobs: JobRunner, work: Any) -> Job:
    return await jobs.submit("tiny", 1, "request", Work(work))


async def test_a_job_is_recorded_runs_and_leaves_its_result(jobs: JobRunner, database: Database) -> None:
    work = Held()
    job = await submit(jobs, work)
    await work.started.wait()
    assert (await jobs.find(job.id)).state == "running"
    work.go.set()
    assert await job.wait(10)
    for ask in (jobs, JobRunner(JobStore(database))):  # this process and another one
        record = await ask.find(job.id)
        assert (record.state, record.done, record.total, record.result) == ("done", 10, 10, {"alpha": 1.5})
        assert record.finished is not None


async def test_one_job_runs_at_a_time_and_the_queue_is_bounded(jobs: JobRunner) -> None:
    first = Held()
    second = Held()
    await submit(jobs, first)
    waiting = await submit(jobs, second)
    await first.started.wait()
    assert ((await jobs.find(waiting.id)).state, second.started.is_set()) == ("queued", False)
    for _ in range(runner_module.MAX_OPEN - 2):
        await submit(jobs, at_once)
    with pytest.raises(OverloadedError, match="8 jobs are running or waiting"):
        await submit(jobs, at_once)
    with pytest.raises(OverloadedError, match="8 jobs are running or waiting"), jobs.upload():
        pass
    first.go.set()
    await second.started.wait()


async def test_uploads_are_bounded_and_take_no_place_in_the_queue(jobs: JobRunner) -> None:
    with contextlib.ExitStack() as places:
        for _ in range(runner_module.MAX_UPLOADS):
            places.enter_context(jobs.upload())
        with pytest.raises(OverloadedError, match="8 archives are being uploaded"), jobs.upload():
            pass
        assert await (await submit(jobs, at_once)).wait(10)
    with jobs.upload():
        pass


async def test_the_computation_of_a_cancelled_job_ends_and_the_next_job_gets_the_thread(jobs: JobRunner) -> None:
    began = asyncio.Event()
    ended = []
    loop = asyncio.get_running_loop()

    async def endless(progress: Progress) -> dict[str, Any]:
        def spin() -> dict[str, Any]:
            loop.call_soon_threadsafe(began.set)
            try:
                while True:
                    progress.check()
            finally:
                ended.append(True)

        return await jobs.compute(spin)

    async def short(_: Progress) -> dict[str, Any]:
        return await jobs.compute(lambda: {"alpha": 0.5})

    job = await submit(jobs, endless)
    await began.wait()
    assert (await jobs.cancel(job.id)).state == "cancelled"
    following = await submit(jobs, short)
    assert await following.wait(10)
    assert (following.result, ended) == ({"alpha": 0.5}, [True])


@pytest.mark.parametrize("how", ["cancelled", "stopped"])
async def test_a_job_that_has_its_result_cannot_be_cancelled_before_it_is_stored(jobs: JobRunner, how: str) -> None:
    storing = asyncio.Event()
    go = asyncio.Event()
    stored = []

    async def finish(report: dict[str, Any]) -> dict[str, Any]:
        storing.set()
        await go.wait()
        stored.append(report["alpha"])
        return report

    job = await jobs.submit("tiny", 1, "request", Work(at_once, finish))
    await storing.wait()
    asyncio.get_running_loop().call_soon(go.set)
    await (jobs.cancel(job.id) if how == "cancelled" else jobs.close())
    record = await jobs.find(job.id)
    assert (record.state, record.result, stored) == ("done", {"alpha": 0.5}, [0.5])


async def test_the_end_of_a_job_is_stored_as_soon_as_the_database_is_available(
    jobs: JobRunner, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "UPDATE_SECONDS", 0.01)
    available = False
    run = database.run

    async def run_if_available(work: Any) -> Any:
        if not available and job is not None:
            raise StorageUnavailableError("the database is away; try again")
        return await run(work)

    job = None
    monkeypatch.setattr(database, "run", run_if_available)
    job = await submit(jobs, at_once)
    await job.wait(10)
    assert (await jobs.find(job.id)).state == "done"
    available = True
    while jobs._saving_later:
        await asyncio.sleep(0)
    assert (await JobRunner(JobStore(database)).find(job.id)).state == "done"


@pytest.mark.parametrize("job_id", ["", "x", "\x00", "0" * 31, "G" * 32, "0" * 10_000])
async def test_an_invalid_job_id_is_unknown(jobs: JobRunner, job_id: str) -> None:
    with pytest.raises(UnknownJobError):
        await jobs.find(job_id)
    with pytest.raises(UnknownJobError):
        await jobs.cancel(job_id)


async def test_a_failed_job_has_a_message_and_the_next_job_runs(jobs: JobRunner) -> None:
    async def fails(_: Progress) -> dict[str, Any]:
        raise TuningError("there is no labelled image at all")

    async def breaks(_: Progress) -> dict[str, Any]:
        raise ZeroDivisionError("secret detail")

    failed, broken, fine = [await submit(jobs, work) for work in (fails, breaks, at_once)]
    for job in (failed, broken, fine):
        assert await job.wait(10)
    records = [await jobs.find(job.id) for job in (failed, broken, fine)]
    assert [record.state for record in records] == ["failed", "failed", "done"]
    expected = {"code": "cannot_tune", "message": "there is no labelled image at all", "request_id": "request"}
    assert records[0].error == expected
    assert records[1].error["code"] == "internal_error"
    assert "secret" not in str(records[1].error)


@pytest.mark.parametrize("started", [True, False])
async def test_a_cancelled_job_stops_whether_it_runs_or_waits(jobs: JobRunner, started: bool) -> None:
    first = Held()
    second = Held()
    running = await submit(jobs, first)
    waiting = await submit(jobs, second)
    await first.started.wait()
    job = running if started else waiting
    record = await jobs.cancel(job.id)
    assert (record.state, record.finished is not None, record.error) == ("cancelled", True, None)
    assert (await jobs.cancel(job.id)).state == "cancelled"


async def test_another_process_can_cancel_a_job(
    jobs: JobRunner, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "UPDATE_SECONDS", 0.01)
    work = Held()
    job = await submit(jobs, work)
    await work.started.wait()
    await JobRunner(JobStore(database)).cancel(job.id)
    assert await job.wait(10)
    assert (await JobRunner(JobStore(database)).find(job.id)).state == "cancelled"


async def test_a_job_whose_process_ended_is_reported_as_lost(database: Database) -> None:
    now = 1000.0
    store = JobStore(database, lambda: now)
    gone = JobRunner(store)
    job = await submit(gone, Held())
    assert job.task is not None
    now += runner_module.LOST_SECONDS + 1
    record = await JobRunner(store).find(job.id)
    assert (record.state, record.error["code"]) == ("failed", "job_lost")
    await gone.close()


async def test_a_stopped_server_leaves_no_job_running(jobs: JobRunner, database: Database) -> None:
    work = Held()
    job = await submit(jobs, work)
    await work.started.wait()
    await jobs.close()
    record = await JobRunner(JobStore(database)).find(job.id)
    assert (record.state, record.error["code"]) == ("failed", "job_lost")


async def test_a_delayed_update_does_not_reopen_an_ended_job(jobs: JobRunner, database: Database) -> None:
    job = await submit(jobs, at_once)
    await job.wait(10)
    await JobStore(database).save(job.record(5.0)._replace(state="running", finished=None))
    assert (await JobRunner(JobStore(database)).find(job.id)).state == "done"


async def test_old_jobs_are_deleted(database: Database) -> None:
    now = 1000.0
    store = JobStore(database, lambda: now)
    old = await submit(JobRunner(store), at_once)
    await old.wait(10)
    now += KEEP_SECONDS + 1
    new = JobRunner(store)
    await (await submit(new, at_once)).wait(10)
    with pytest.raises(UnknownJobError, match="the last 100 jobs that ended are kept for a day"):
        await new.find(old.id)


async def test_ended_jobs_are_bounded_and_a_running_one_is_not_deleted(
    jobs: JobRunner, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MAX_ENDED", 3)
    work = Held()
    elsewhere = JobRunner(JobStore(database))
    held = await submit(jobs, work)
    ended = [await submit(elsewhere, at_once) for _ in range(6)]
    for job in ended:
        assert await job.wait(10)
    await submit(elsewhere, at_once)
    store = JobStore(database)
    assert [await store.find(job.id) is not None for job in ended] == [False] * 3 + [True] * 3
    assert await store.find(held.id) is not None
    work.go.set()


async def test_ended_jobs_in_memory_are_bounded(jobs: JobRunner) -> None:
    for _ in range(runner_module.MAX_ENDED_IN_MEMORY + 5):
        await (await submit(jobs, at_once)).wait(10)
    assert len(jobs._ended) == runner_module.MAX_ENDED_IN_MEMORY
    assert not jobs._open


async def test_without_a_database_no_job_begins_and_none_stays_queued() -> None:
    jobs = JobRunner(JobStore(Database("sqlite:////proc/nowhere/longtail.db")))
    closed = []
    with pytest.raises(StorageUnavailableError):
        await jobs.submit("tiny", 1, "request", Work(at_once, close=lambda: closed.append(True)))
    assert (jobs._open, closed) == ({}, [True])


@pytest.mark.parametrize("ending", ["done", "cancelled in the queue"])
async def test_the_work_of_a_job_is_closed_however_it_ends(jobs: JobRunner, ending: str) -> None:
    closed: list[bool] = []
    if ending != "done":
        await submit(jobs, Held())
    job = await jobs.submit("tiny", 1, "request", Work(at_once, close=lambda: closed.append(True)))
    if ending == "done":
        await job.wait(10)
    else:
        await jobs.cancel(job.id)
    assert closed == [True]
