"""If a thread hangs or dies, no request waits for it forever, and the process reports that it must be replaced."""

import asyncio
import threading

import pytest

from engines.base import Float
from service.inference.batching import BatchPolicy, BatchQueue
from service.inference.watchdog import CHECK_SECONDS, Watchdog, WorkerThread
from tests.service.conftest import Running, Service, picture

pytestmark = pytest.mark.anyio
POLICY = BatchPolicy(4)


class Watched:
    """A watchdog over threads that live until `end` is set, and what it reported."""

    def __init__(self, threads: int, stuck_seconds: float) -> None:
        self.end = threading.Event()
        self.threads = [
            WorkerThread(threading.Thread(target=self.end.wait, name=f"t{i}", daemon=True)) for i in range(threads)
        ]
        for worker_thread in self.threads:
            worker_thread.thread.start()
        self.lost: list[tuple[WorkerThread, str]] = []
        self.watchdog = Watchdog(self.threads, stuck_seconds, lambda *report: self.lost.append(report))

    def check(self, start: float, stop: float) -> None:
        """Check once a second from `start` to `stop`."""
        now = start
        while now <= stop:
            self.watchdog.check(now)
            now += CHECK_SECONDS


def test_a_task_that_takes_too_long_is_reported_once() -> None:
    watched = Watched(2, 10.0)
    watched.threads[0].task = object()
    watched.check(0, 10)
    assert watched.lost == []
    watched.check(11, 100)
    assert [thread for thread, _ in watched.lost] == [watched.threads[0]]
    assert "t0 has been busy with one task for 11 s" in watched.lost[0][1]
    assert not watched.watchdog.all_lost


def test_a_thread_that_changes_tasks_does_not_hang() -> None:
    watched = Watched(1, 3.0)
    for now in range(20):
        watched.threads[0].task = object()
        watched.watchdog.check(float(now))
    assert watched.lost == []


def test_time_during_which_the_whole_process_was_stopped_does_not_count() -> None:
    watched = Watched(1, 10.0)
    watched.threads[0].task = object()
    watched.check(0, 3)
    watched.check(100_000, 100_003)
    assert watched.lost == []


def test_with_zero_seconds_only_dead_threads_are_found() -> None:
    watched = Watched(1, 0.0)
    watched.threads[0].task = object()
    watched.check(0, 100_000)
    assert watched.lost == []
    watched.end.set()
    watched.threads[0].thread.join()
    watched.watchdog.check(100_001.0)
    assert "has died" in watched.lost[0][1]
    assert watched.watchdog.all_lost


def test_clearing_the_queue_returns_what_was_queued() -> None:
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
async def test_a_request_whose_thread_hangs_gets_an_error_and_the_other_threads_continue(
    running: Running, threads: int
) -> None:
    release = threading.Event()

    def hang(logits: Float) -> Float:
        release.wait(60)
        return logits

    async with running(inference_threads=threads, decode_threads=2, stuck_seconds=2) as service:
        engine = service.engines["tiny"]
        assert await probes(service) == [200] * 4
        unspoilt = engine.spoil
        engine.spoil = hang
        hanging = asyncio.create_task(service.classify(picture(1)))
        while not engine.running.acquire(blocking=False):
            await asyncio.sleep(0.001)
        engine.spoil = unspoilt  # for later requests; the first one hangs in the old function
        answer = await hanging
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "inference_failed")
        assert "has been busy with one task for" in answer.json()["error"]["message"]
        assert await probes(service) == [503] * 4
        assert (await service.client.get("/livez")).json()["error"]["code"] == "not_live"
        assert service.app.state.context.worker.pending_images == 0
        later = [await service.classify(picture(seed)) for seed in range(2, 6)]
        release.set()
    assert [each.status_code for each in later] == [200] * 4


async def test_without_a_thread_left_every_request_gets_an_error(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(inference_threads=1, decode_threads=1, max_batch_images=1) as service:
        context = service.app.state.context

        def die(*_: object) -> None:
            raise SystemExit

        monkeypatch.setattr(context.worker, "_compute", die)
        answers = await asyncio.gather(*(service.classify(picture(seed)) for seed in range(3)))
        later = await service.classify(picture(9))
    assert {answer.status_code for answer in answers} == {500, 503}
    assert "has died" in answers[0].json()["error"]["message"]
    assert (later.status_code, later.json()["error"]["code"]) == (503, "not_ready")
