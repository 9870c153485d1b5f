"""Heavy queries run one at a time, a few wait, and other requests are not delayed."""

import asyncio
import threading

import pytest

from service.errors import OverloadedError
from service.jobs.heavy_queries import MAX_HEAVY_QUERIES, heavy_query_executor
from tests.service.conftest import Running

pytestmark = pytest.mark.anyio
HEAVY = ("/v1/models/tiny/alpha/curve?source=feedback", "/v1/models/tiny/feedback?last=1000000")


async def test_queries_run_one_at_a_time_and_those_beyond_the_bound_are_refused() -> None:
    executor = heavy_query_executor()
    gate = threading.Event()
    threads = []

    def work() -> int:
        threads.append(threading.current_thread())
        gate.wait()
        return len(threads)

    tasks = [asyncio.create_task(executor.run(work)) for _ in range(MAX_HEAVY_QUERIES)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="retry in a moment"):
        await executor.run(work)
    tasks.pop().cancel()  # a cancelled query frees its place
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(executor.run(work)))
    gate.set()
    assert await asyncio.gather(*tasks) == [1, 2, 3, 4]
    assert len(set(threads)) == 1
    executor.close()


async def test_a_full_queue_delays_no_label_and_no_light_query(running: Running) -> None:
    gate = threading.Event()
    async with running() as service:
        heavy = service.app.state.context.heavy_queries
        tasks = [asyncio.create_task(heavy.run(gate.wait)) for _ in range(MAX_HEAVY_QUERIES)]
        await asyncio.sleep(0)
        refused = [await service.client.get(path) for path in HEAVY]
        light = await service.client.get("/v1/models/tiny/feedback")
        label = await service.client.post("/v1/feedback", json=[])
        gate.set()
        await asyncio.gather(*tasks)
        after = await service.client.get(HEAVY[1])
    assert [(each.status_code, each.json()["error"]["code"]) for each in refused] == [(503, "overloaded")] * 2
    assert refused[0].headers["Retry-After"] == "1"
    assert [light.status_code, label.status_code, after.status_code] == [200] * 3
