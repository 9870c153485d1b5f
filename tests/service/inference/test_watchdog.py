"""A thread that hangs or dies leaves nobody waiting, and the process is to be replaced."""

import asyncio
import threading

import pytest

from engines.base import Float
from service.inference.batching import BatchPolicy, BatchQueue
from service.inference.watchdog import LOOK_SECONDS, Watchdog, WorkerThread
from tests.service.conftest import Running, Service, picture

pytestmark = pytest.mark.anyio
POLICY = BatchPolicy(4)


class Clocked:
    """A watchdog over threads that live until told to end, and what it told."""

    def __init__(self, desks: int, seconds: float) -> None:
        self.end = threading.Event()
        self.desks = [
            WorkerThread(threading.Thread(target=self.end.wait, name=f"t{i}", daemon=True)) for i in range(desks)
        ]
        for desk in self.desks:
            desk.thread.start()
        self.told: list[tuple[WorkerThread, str]] = []
        self.dog = Watchdog(self.desks, seconds, lambda *what: self.told.append(what))

    def look(self, start: float, stop: float) -> None:
        now = start
        while now <= stop:
            self.dog.look(now)
            now += LOOK_SECONDS


def test_a_task_that_takes_too_long_is_told_once() -> None:
    clocked = Clocked(2, 10.0)
    clocked.desks[0].task = object()
    clocked.look(0, 10)
    assert clocked.told == []
    clocked.look(11, 100)
    assert [desk for desk, _ in clocked.told] == [clocked.desks[0]]
    assert "t0 has been busy with one task for 11 s" in clocked.told[0][1]
    assert not clocked.dog.nobody_is_left


def test_another_task_every_time_is_no_hang() -> None:
    clocked = Clocked(1, 3.0)
    for now in range(20):
        clocked.desks[0].task = object()
        clocked.dog.look(float(now))
    assert clocked.told == []


def test_time_the_whole_process_was_stopped_for_does_not_count() -> None:
    clocked = Clocked(1, 10.0)
    clocked.desks[0].task = object()
    clocked.look(0, 3)
    clocked.look(100_000, 100_003)
    assert clocked.told == []


def test_zero_seconds_watch_for_death_only() -> None:
    clocked = Clocked(1, 0.0)
    clocked.desks[0].task = object()
    clocked.look(0, 100_000)
    assert clocked.told == []
    clocked.end.set()
    clocked.desks[0].thread.join()
    clocked.dog.look(100_001.0)
    assert "has died" in clocked.told[0][1]
    assert clocked.dog.nobody_is_left


def test_a_cleared_queue_gives_back_whoever_waited() -> None:
    queue: BatchQueue[str, int] = BatchQueue(1)
    queue.add("a", 1, policy=POLICY, decoded=True)
    queue.add("b", 2, policy=POLICY, decoded=False)
    assert sorted(queue.clear()) == [1, 2]
    assert len(queue) == 0
    assert queue.next_task() is None


async def probes(service: Service) -> list[int]:
    paths = ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready")
    return [(await service.client.get(path)).status_code for path in paths]


@pytest.mark.parametrize("threads", [1, 2])
async def test_who_waits_for_a_thread_that_hangs_is_told_and_the_others_go_on(running: Running, threads: int) -> None:
    release = threading.Event()

    def hang(logits: Float) -> Float:
        release.wait(60)
        return logits

    async with running(inference_threads=threads, decode_threads=2, stuck_seconds=2) as service:
        engine = service.engines["tiny"]
        assert await probes(service) == [200] * 4
        honest = engine.spoil
        engine.spoil = hang
        hanging = asyncio.create_task(service.classify(picture(1)))
        while not engine.running.acquire(blocking=False):
            await asyncio.sleep(0.001)
        engine.spoil = honest  # for who comes later; the first one hangs in the other
        answer = await hanging
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "inference_failed")
        assert "has been busy with one task for" in answer.json()["error"]["message"]
        assert await probes(service) == [503] * 4
        assert (await service.client.get("/livez")).json()["error"]["code"] == "not_live"
        assert service.app.state.context.worker.pending_images == 0
        later = [await service.classify(picture(seed)) for seed in range(2, 6)]
        release.set()
    assert [each.status_code for each in later] == [200] * 4


async def test_without_a_thread_left_nobody_waits(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(inference_threads=1, decode_threads=1, max_batch_images=1) as service:
        context = service.app.state.context

        def die(*_: object) -> None:
            raise SystemExit

        monkeypatch.setattr(context.worker, "_compute_surely", die)
        answers = await asyncio.gather(*(service.classify(picture(seed)) for seed in range(3)))
        later = await service.classify(picture(9))
    assert {answer.status_code for answer in answers} == {500, 503}
    assert "has died" in answers[0].json()["error"]["message"]
    assert (later.status_code, later.json()["error"]["code"]) == (503, "not_ready")
