"""A request that misses its own deadline is answered with 504 and is not computed."""

import asyncio

import pytest

from tests.service.conftest import CLASSIFY, Running, Service, picture

pytestmark = pytest.mark.anyio
PNG = {"Content-Type": "image/png"}


async def hold_the_engine(service: Service) -> asyncio.Task[object]:
    """Send a picture that is being computed until the test opens the engine's gate."""
    engine = service.engines["tiny"]
    engine.gate.clear()
    holding = asyncio.create_task(service.classify(picture(0)))
    while not engine.running.acquire(blocking=False):
        await asyncio.sleep(0.001)
    return holding


@pytest.mark.parametrize(
    ("path", "query", "headers"),
    [
        (CLASSIFY, "?timeout_ms=30", {}),
        (CLASSIFY, "", {"X-Request-Timeout": "0.03"}),
        (CLASSIFY, "?timeout_ms=60000", {"X-Request-Timeout": "0.03"}),
        (CLASSIFY, "?timeout_ms=30", {"X-Request-Timeout": "60"}),
        ("/v1/models/tiny/alpha-path", "?timeout_ms=30", {}),
        ("/v2/models/tiny/infer", "", {"X-Request-Timeout": "0.03", "Inference-Header-Content-Length": "0"}),
    ],
)
async def test_a_late_request_is_answered_with_504_and_not_computed(
    running: Running, path: str, query: str, headers: dict[str, str]
) -> None:
    async with running(inference_threads=1, decode_threads=1) as service:
        holding = await hold_the_engine(service)
        late = await service.client.post(path + query, content=picture(1), headers=PNG | headers)
        pending = service.app.state.context.worker.pending_images
        service.engines["tiny"].gate.set()
        assert (await holding).status_code == 200
        after = await service.classify(picture(2))
    assert late.status_code == 504
    assert "not answered within 30 ms" in late.text
    assert pending == 1
    assert after.status_code == 200
    assert service.engines["tiny"].batches == [1, 1]


async def test_a_request_within_its_deadline_is_answered(running: Running) -> None:
    async with running() as service:
        answers = [
            await service.classify(picture(1), "?timeout_ms=60000"),
            await service.classify(picture(1), headers={"X-Request-Timeout": "1e3"}),
        ]
    assert [answer.status_code for answer in answers] == [200, 200]


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", "", "9" * 1000, "1" + " " * 40 + "x"])
async def test_an_invalid_timeout_is_refused(running: Running, text: str) -> None:
    async with running() as service:
        by_header = await service.classify(picture(1), headers={"X-Request-Timeout": text})
        by_query = await service.classify(picture(1), f"?timeout_ms={text}")
    for answer in (by_header, by_query):
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


async def test_a_late_form_frees_all_its_slots(running: Running) -> None:
    async with running(inference_threads=1, decode_threads=1) as service:
        holding = await hold_the_engine(service)
        files = [("files", (str(seed), picture(seed))) for seed in range(1, 6)]
        late = await service.client.post(f"{CLASSIFY}?timeout_ms=30", files=files)
        pending = service.app.state.context.worker.pending_images
        service.engines["tiny"].gate.set()
        await holding
    assert (late.status_code, pending) == (504, 1)
    assert service.engines["tiny"].batches == [1]
