"""A bounded executor runs N tasks at a time, refuses those beyond M, and closes in bounded time."""

import asyncio
import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures import wait as wait_for

import pytest

from service.bounded_executor import BoundedExecutor
from service.errors import OverloadedError

pytestmark = pytest.mark.anyio
PATIENCE = 30.0


def bounded(threads: int = 1, max_tasks: int = 4) -> BoundedExecutor:
    return BoundedExecutor("test", threads=threads, max_tasks=max_tasks, refusal=lambda: OverloadedError("too many"))


async def test_tasks_beyond_the_bound_are_refused_with_the_callers_error() -> None:
    executor = bounded()
    gate = threading.Event()
    tasks = [asyncio.create_task(executor.run(lambda: gate.wait(PATIENCE))) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="too many"):
        await executor.run(lambda: None)
    with pytest.raises(OverloadedError, match="too many"):
        executor.submit(lambda: None)
    gate.set()
    assert await asyncio.gather(*tasks) == [True] * 4
    assert await executor.run(lambda: 7) == 7
    executor.close()


async def test_no_more_threads_run_than_were_asked_for() -> None:
    executor = bounded(threads=2, max_tasks=20)
    both = threading.Barrier(2)
    names = await asyncio.gather(
        *(executor.run(lambda: (both.wait(PATIENCE), threading.current_thread().name)[1]) for _ in range(20))
    )
    assert set(names) == {"test_0", "test_1"}
    executor.close()


async def test_what_a_task_raises_reaches_its_caller_and_frees_its_place() -> None:
    executor = bounded(max_tasks=1)

    def fail() -> None:
        raise KeyError("mine")

    for _ in range(3):
        with pytest.raises(KeyError, match="mine"):
            await executor.run(fail)
    assert executor.tasks == 0
    executor.close()


async def test_a_caller_that_leaves_frees_a_waiting_place_at_once_and_a_running_one_when_it_ends() -> None:
    executor = bounded()
    gate = threading.Event()
    tasks = [asyncio.create_task(executor.run(lambda: gate.wait(PATIENCE))) for _ in range(4)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert executor.tasks == 1
    gate.set()
    assert await executor.run(lambda: 7) == 7
    while executor.tasks:
        await asyncio.sleep(0)
    executor.close()


def test_closing_cancels_what_waits_and_does_not_wait_for_what_runs() -> None:
    executor = bounded()
    gate = threading.Event()
    running = executor.submit(lambda: gate.wait(PATIENCE))
    waiting = executor.submit(lambda: None)
    started = time.monotonic()
    executor.close()
    assert time.monotonic() - started < PATIENCE / 2
    with pytest.raises(CancelledError):
        waiting.result(PATIENCE)
    with pytest.raises(RuntimeError):
        executor.submit(lambda: None)
    gate.set()
    assert running.result(PATIENCE)


def test_closing_with_a_wait_finishes_what_was_submitted() -> None:
    executor = bounded()
    done = [executor.submit(lambda: time.sleep(0.01) or 7) for _ in range(4)]
    executor.close(wait_seconds=PATIENCE)
    assert [each.result(0) for each in done] == [7] * 4


def test_closing_gives_up_on_a_task_that_hangs() -> None:
    executor = bounded()
    gate = threading.Event()
    running = executor.submit(lambda: gate.wait(PATIENCE))
    waiting = executor.submit(lambda: None)
    started = time.monotonic()
    executor.close(wait_seconds=0.05)
    assert time.monotonic() - started < PATIENCE / 2
    assert waiting.cancelled()
    assert not running.done()
    gate.set()
    wait_for([running], PATIENCE)
