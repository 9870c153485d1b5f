"""The response cache returns exact outputs at every alpha, stays within its bound and computes each picture once."""

import asyncio
import tracemalloc
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engines.fake import FakeEngine
from models.bundle import Bundle
from service.inference.cache import ResponseCache
from service.inference.network_output import NetworkOutput
from service.inference.registry import ServedModel
from service.metrics import Metrics
from tests.service.conftest import CLASSIFY, Running, picture
from tests.tiny_bundle import write_tiny_bundle

pytestmark = pytest.mark.anyio


def served(bundle: Bundle) -> ServedModel:
    return ServedModel(bundle, FakeEngine(bundle), 8)


def output(value: float, classes: int = 5) -> NetworkOutput:
    return NetworkOutput(np.full(classes, value, np.float32), np.full(2, value, np.float32))


def predictions_of(answer: httpx.Response) -> Any:
    """The predictions of an answer, without the ids."""
    return [result["predictions"] for result in answer.json()["results"]]


async def test_the_same_picture_is_answered_at_another_alpha_without_the_network(running: Running) -> None:
    async with running() as service, running(cache_mb=0) as plain:
        first = await service.classify(picture(1), "?alpha=0")
        again = await service.classify(picture(1), "?alpha=2&alpha=-1&top_k=3&prior=uniform")
        expected = await plain.classify(picture(1), "?alpha=2&alpha=-1&top_k=3&prior=uniform")
    assert service.engines["tiny"].batches == [1]
    assert predictions_of(again) == predictions_of(expected)
    assert first.json()["results"][0]["id"] != again.json()["results"][0]["id"]


async def test_a_path_and_a_form_use_the_entry_of_a_classify_request(running: Running) -> None:
    async with running() as service:
        await service.classify(picture(1))
        path = await service.client.post(
            "/v1/models/tiny/alpha-path", content=picture(1), headers={"Content-Type": "image/png"}
        )
        form = await service.client.post(CLASSIFY, files=[("files", ("a", picture(1))), ("files", ("b", picture(1)))])
    assert (path.status_code, form.status_code) == (200, 200)
    assert service.engines["tiny"].batches == [1]


async def test_concurrent_requests_for_one_picture_compute_it_once(running: Running) -> None:
    async with running(inference_threads=1) as service:
        engine = service.engines["tiny"]
        engine.gate.clear()
        asking = [asyncio.create_task(service.classify(picture(1), f"?alpha={i}")) for i in range(20)]
        await asyncio.to_thread(engine.running.acquire)
        while service.app.state.context.worker.pending_images < 20:
            await asyncio.sleep(0)
        engine.gate.set()
        answers = await asyncio.gather(*asking)
    assert engine.batches == [1]
    assert [answer.json()["results"][0]["predictions"][0]["alpha"] for answer in answers] == list(range(20))


@pytest.mark.parametrize("cancelled", [0, 1])
async def test_cancelling_one_of_two_requests_for_a_picture_does_not_affect_the_other(
    running: Running, cancelled: int
) -> None:
    async with running(inference_threads=1) as service:
        engine = service.engines["tiny"]
        engine.gate.clear()
        first = asyncio.create_task(service.classify(picture(0)))
        await asyncio.to_thread(engine.running.acquire)
        asking = [asyncio.create_task(service.classify(picture(1))) for _ in range(2)]
        while service.app.state.context.worker.pending_images < 3:
            await asyncio.sleep(0)
        asking[cancelled].cancel()
        engine.gate.set()
        await first
        assert (await asking[1 - cancelled]).status_code == 200


async def test_concurrent_requests_for_a_broken_picture_all_get_the_error(running: Running) -> None:
    async with running() as service:
        answers = await asyncio.gather(*(service.classify(b"broken") for _ in range(5)))
        again = await service.classify(b"broken")
    assert {answer.json()["error"]["code"] for answer in (*answers, again)} == {"unreadable_image"}


async def test_an_output_that_is_not_finite_is_not_cached(running: Running) -> None:
    def spoil(logits: Any) -> Any:
        logits[:] = np.nan
        return logits

    async with running() as service:
        engine = service.engines["tiny"]
        engine.spoil = spoil
        failed = await service.classify(picture(1))
        engine.spoil = lambda logits: logits
        works = await service.classify(picture(1))
    assert (failed.status_code, works.status_code) == (500, 200)


async def test_two_models_do_not_share_entries(running: Running, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path, "one", seed=1)
    write_tiny_bundle(tmp_path, "two", seed=2)
    async with running(models=tmp_path, real=True) as service:
        one, two = [
            await service.client.post(
                f"/v1/models/{name}/classify", content=picture(1), headers={"Content-Type": "image/png"}
            )
            for name in ("one", "two")
        ]
    assert predictions_of(one) != predictions_of(two)


async def test_hits_and_misses_are_counted(running: Running) -> None:
    async with running() as service:
        for seed in (1, 1, 2):
            await service.classify(picture(seed))
        text = (await service.client.get("/metrics")).text
        held = service.app.state.context.worker.cache.held_bytes
    values = {
        (s.name, *s.labels.values()): s.value for family in text_string_to_metric_families(text) for s in family.samples
    }
    lookups = [values["longtail_cache_lookups_total", "tiny", outcome] for outcome in ("hit", "miss")]
    assert lookups == [1, 2]
    assert values["longtail_cache_bytes",] == held > 0


def test_it_stays_within_its_bound_and_evicts_the_least_recently_used_entry(tiny_bundle: Bundle) -> None:
    model = served(tiny_bundle)
    cache = ResponseCache(10_000, Metrics())
    keys = [cache.key(model, bytes([i])) for i in range(100)]
    for i, key in enumerate(keys):
        assert key is not None
        cache.put(key, output(i))
        assert cache.held_bytes <= 10_000
        assert keys[0] is not None
        assert cache.get(model, keys[0]) is not None  # used all the time, so it stays
    assert 5 < len(cache) < 30
    assert keys[1] is not None
    assert cache.get(model, keys[1]) is None


def test_it_uses_no_more_memory_than_it_counts(tiny_bundle: Bundle) -> None:
    model = served(tiny_bundle)
    cache = ResponseCache(2_000_000, Metrics())
    tracemalloc.start()
    for i in range(10_000):
        key = cache.key(model, i.to_bytes(4, "big"))
        assert key is not None
        cache.put(key, output(i))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.5 * cache.held_bytes < taken <= cache.held_bytes


def test_a_bundle_that_is_loaded_again_finds_no_entries(tiny_bundle: Bundle) -> None:
    before = served(tiny_bundle)
    after = served(tiny_bundle)
    cache = ResponseCache(10_000, Metrics())
    key = cache.key(before, b"picture")
    assert key is not None
    cache.put(key, output(1))
    again = cache.key(after, b"picture")
    assert again is not None
    assert cache.get(after, again) is None


def test_a_cache_of_0_bytes_is_disabled(tiny_bundle: Bundle) -> None:
    assert ResponseCache(0, Metrics()).key(served(tiny_bundle), b"picture") is None
