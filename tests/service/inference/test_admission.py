"""Bounds on the pictures and the bytes of requests in the server at a time."""

import asyncio
import zlib

import httpx
import pytest

from tests.service.conftest import CLASSIFY, Running, picture
from tests.service.web.test_deadline import PNG, hold_the_engine

pytestmark = pytest.mark.anyio


class SlowBody(httpx.AsyncByteStream):
    """A body whose second half follows once `resume` is set."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.started = asyncio.Event()
        self.resume = asyncio.Event()

    async def __aiter__(self):  # type: ignore[no-untyped-def]
        half = len(self.data) // 2
        yield self.data[:half]
        self.started.set()
        await self.resume.wait()
        yield self.data[half:]


async def test_bodies_beyond_the_budget_are_refused_until_bytes_are_given_back(running: Running) -> None:
    large = picture(1, side=64)  # 12 kB
    async with running(max_pending_mb=0.02) as service:
        slow = SlowBody(large)
        sending = asyncio.create_task(service.client.post(CLASSIFY, content=slow, headers=PNG))
        await slow.started.wait()
        budget = service.app.state.context.body_budget
        assert budget.held_bytes == len(large) // 2
        raw = await service.classify(large * 2)
        form = await service.client.post(CLASSIFY, files={"files": large * 2})
        small = await service.classify(picture(2))
        slow.resume.set()
        assert (await sending).status_code == 200
        assert budget.held_bytes == 0
        assert (await service.classify(large)).status_code == 200
    for refused in (raw, form):
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert "MB of requests are in memory, of at most 0.02" in refused.json()["error"]["message"]
    assert small.status_code == 200


async def test_decompressed_bytes_count_as_well(running: Running) -> None:
    bomb = zlib.compress(bytes(100_000))
    async with running(max_pending_mb=0.05) as service:
        headers = {"Content-Encoding": "deflate", "Inference-Header-Content-Length": "0"}
        refused = await service.client.post("/v2/models/tiny/infer", content=bomb, headers=headers)
        held = service.app.state.context.body_budget.held_bytes
    assert (refused.status_code, held) == (503, 0)


async def test_without_a_free_slot_a_request_is_refused_before_its_body_is_read(running: Running) -> None:
    async with running(inference_threads=1, decode_threads=1, max_pending_images=1) as service:
        holding = await hold_the_engine(service)
        never = SlowBody(picture(1))
        refused = await asyncio.wait_for(service.client.post(CLASSIFY, content=never, headers=PNG), 5)
        service.engines["tiny"].gate.set()
        await holding
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert not never.started.is_set()
