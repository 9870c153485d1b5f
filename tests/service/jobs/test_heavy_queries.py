"""The line before heavy work: one at a time, a few wait, nobody is kept from anything else."""

import asyncio
import threading

import pytest
from service.jobs.heavy_work import MAX_INSIDE, Line

from service.errors import OverloadedError
from tests.service.conftest import Running

pytestmark = pytest.mark.anyio
HEAVY = ("/v1/models/tiny/alpha/curve?source=feedback", "/v1/models/tiny/feedback?last=1000000")


async def test_one_at_a_time_and_beyond_the_line_come_back_later() -> None:
    line = Line()
    gate = threading.Event()
    inside = []

    def work() -> int:
        inside.append(threading.current_thread())
        gate.wait()
        return len(inside)

    tasks = [asyncio.create_task(line.run(work)) for _ in range(MAX_INSIDE)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="ask again in a moment"):
        await line.run(work)
    tasks.pop().cancel()  # who leaves makes room
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(line.run(work)))
    gate.set()
    assert await asyncio.gather(*tasks) == [1, 2, 3, 4]
    assert len(set(inside)) == 1
    line.close()


async def test_a_full_line_keeps_no_label_and_no_light_question_waiting(running: Running) -> None:
    gate = threading.Event()
    async with running() as service:
        heavy = service.app.state.context.heavy_queries
        tasks = [asyncio.create_task(heavy.run(gate.wait)) for _ in range(MAX_INSIDE)]
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
