"""The classify route: predictions at every alpha of the request, batching, disconnects, failures."""

import asyncio
import gc
import io
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import Request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from models import tde
from models.bundle import load_bundle
from models.preprocess import decode_image
from service.errors import ClientDisconnectedError, InferenceError
from service.inference.picture import Picture
from service.inference.queries import OutputQuery
from service.web.disconnect import DISCONNECT, ClientDisconnect, unless_disconnected
from tests.service.conftest import CLASSIFY, Running, picture
from tests.tiny_bundle import TinyModel, write_tiny_bundle

pytestmark = pytest.mark.anyio

MODEL = TinyModel()


def pixels(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return decode_image(data, MODEL.manifest().input)[None]


def probabilities(prediction: dict[str, Any]) -> list[float]:
    return [c["probability"] for c in sorted(prediction["classes"], key=lambda c: c["index"])]


async def test_answers_are_the_arithmetic_of_the_paper(running: Running) -> None:
    data = picture(1)
    async with running(real=True) as service:
        answer = (await service.classify(data, "?alpha=0&alpha=1.5&top_k=5")).json()["results"][0]
    for prediction, alpha in zip(answer["predictions"], (0.0, 1.5), strict=True):
        expected = tde.tde_logits(
            MODEL.logits(pixels(data)), MODEL.head_cosine(pixels(data)), MODEL.class_effect, alpha
        )
        logits = [c["logit"] for c in sorted(prediction["classes"], key=lambda c: c["index"])]
        np.testing.assert_allclose(logits, expected[0], atol=1e-4)  # float32 sums in another order
        np.testing.assert_allclose(probabilities(prediction), tde.softmax(expected)[0], atol=1e-5)
    np.testing.assert_allclose(answer["head_cosine"], MODEL.head_cosine(pixels(data))[0], atol=1e-5)


async def test_most_probable_classes_come_first_with_name_and_group(running: Running) -> None:
    async with running(real=True) as service:
        body = (await service.classify(picture(2), "?top_k=5")).json()
    classes = body["results"][0]["predictions"][0]["classes"]
    assert [c["probability"] for c in classes] == sorted((c["probability"] for c in classes), reverse=True)
    assert sum(c["probability"] for c in classes) == pytest.approx(1.0, abs=1e-5)
    assert {(c["index"], c["name"], c["group"]) for c in classes} >= {(0, "class 0", "many"), (4, "class 4", "few")}
    assert (body["model"], body["version"]) == ("tiny", 1)


@pytest.mark.parametrize(
    ("query", "alphas"),
    [
        ("", [1.5]),
        ("?alpha=0.25", [0.25]),
        ("?alpha=tail", [2.0]),
        ("?alpha=-1&alpha=head&alpha=1e-3", [-1.0, 0.0, 0.001]),
    ],
)
async def test_alpha_is_a_number_several_or_a_name(running: Running, query: str, alphas: list[float]) -> None:
    async with running() as service:
        answer = await service.classify(picture(3), query)
    assert [prediction["alpha"] for prediction in answer.json()["results"][0]["predictions"]] == alphas


async def test_an_exempt_class_keeps_its_probability_at_every_alpha(running: Running, tmp_path: Path) -> None:
    root = tmp_path / "models"
    root.mkdir()
    write_tiny_bundle(root, exempt_class=2)
    async with running(models=root, real=True) as service:
        answer = (await service.classify(picture(4), "?alpha=0&alpha=3&top_k=5")).json()["results"][0]
    plain, removed = map(probabilities, answer["predictions"])
    assert removed[2] == pytest.approx(plain[2], abs=1e-6)
    assert removed != pytest.approx(plain, abs=1e-3)


async def test_a_form_takes_several_pictures_and_a_broken_one_fails_alone(running: Running) -> None:
    files = [("files", ("a.png", picture(5))), ("files", ("b.png", b"no picture")), ("files", ("c.png", picture(6)))]
    async with running() as service:
        answer = await service.client.post(f"{CLASSIFY}?alpha=0", files=files)
        alone = await service.classify(picture(6), "?alpha=0")
    first, broken, last = answer.json()["results"]
    assert answer.status_code == 200
    assert [first["name"], broken["name"], last["name"]] == ["a.png", "b.png", "c.png"]
    assert len({first["id"], broken["id"], last["id"]}) == 3
    assert broken["error"]["code"] == "unreadable_image"
    assert last["predictions"] == alone.json()["results"][0]["predictions"]


async def test_a_form_with_only_broken_pictures_is_refused(running: Running) -> None:
    async with running() as service:
        answer = await service.client.post(CLASSIFY, files=[("files", ("a.png", b"")), ("files", ("b.png", b"x"))])
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unreadable_image")


async def test_one_batch_serves_three_alphas(running: Running) -> None:
    async with running(inference_threads=1, decode_threads=1) as service:
        engine = service.engines["tiny"]
        engine.gate.clear()
        first = asyncio.create_task(service.classify(picture(0)))
        await asyncio.to_thread(engine.running.acquire)
        others = [asyncio.create_task(service.classify(picture(i), f"?alpha={i}")) for i in (1, 2, 3)]
        while len(service.app.state.context.worker._queue) < 3:
            await asyncio.sleep(0)
        engine.gate.set()
        answers = await asyncio.gather(first, *others)
    assert engine.batches == [1, 3]
    assert [answer.json()["results"][0]["predictions"][0]["alpha"] for answer in answers] == [1.5, 1, 2, 3]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=st.lists(st.tuples(st.integers(0, 50), st.floats(-5, 5), st.booleans()), min_size=1, max_size=24),
    max_batch=st.integers(1, 8),
)
async def test_batched_equals_alone_with_mixed_alphas_and_disconnecting_clients(
    running: Running, requests: list[tuple[int, float, bool]], max_batch: int
) -> None:
    async with running(max_batch_images=max_batch) as service:
        engine = service.engines["tiny"]
        engine.gate.clear()
        tasks = [asyncio.create_task(service.classify(picture(s), f"?alpha={a}&top_k=5")) for s, a, _ in requests]
        await asyncio.to_thread(engine.running.acquire)
        for task, (_, _, leaves) in zip(tasks, requests, strict=True):
            if leaves:
                task.cancel()
        engine.gate.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert service.app.state.context.worker.pending_images == 0
        for answer, (seed, alpha, leaves) in zip(answers, requests, strict=True):
            if leaves:
                assert isinstance(answer, asyncio.CancelledError | httpx.Response)
                continue
            assert isinstance(answer, httpx.Response)
            logits = engine.logits(pixels(picture(seed)))
            cosine = engine.head_cosine(pixels(picture(seed)))
            expected = tde.tde_logits(logits, cosine, MODEL.class_effect, alpha)[0]
            classes = answer.json()["results"][0]["predictions"][0]["classes"]
            np.testing.assert_allclose(
                [c["logit"] for c in classes], expected[[c["index"] for c in classes]], atol=1e-5
            )


async def test_a_full_queue_is_answered_with_503_and_drains(running: Running) -> None:
    async with running(max_pending_images=2) as service:
        engine = service.engines["tiny"]
        engine.gate.clear()
        waiting = [asyncio.create_task(service.classify(picture(i))) for i in range(2)]
        await asyncio.to_thread(engine.running.acquire)
        while service.app.state.context.worker.pending_images < 2:
            await asyncio.sleep(0)
        refused = await service.classify(picture(3))
        engine.gate.set()
        accepted = await asyncio.gather(*waiting)
        again = await service.classify(picture(3))
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert refused.headers["Retry-After"] == "1"
    assert [answer.status_code for answer in (*accepted, again)] == [200, 200, 200]


async def test_a_disconnected_client_leaves_the_queue_and_is_not_computed(running: Running) -> None:
    async with running(inference_threads=1) as service:
        engine = service.engines["tiny"]
        worker = service.app.state.context.worker
        engine.gate.clear()
        first = asyncio.create_task(service.classify(picture(0)))
        await asyncio.to_thread(engine.running.acquire)
        body = iter([{"type": "http.request", "body": picture(1), "more_body": False}, {"type": "http.disconnect"}])

        async def receive() -> dict[str, Any]:
            message = next(body)
            while message["type"] == "http.disconnect" and not len(worker._queue):
                await asyncio.sleep(0)
            return message

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": CLASSIFY, "raw_path": CLASSIFY.encode(), "query_string": b"",
            "root_path": "", "headers": [(b"content-type", b"image/png")], "http_version": "1.1", "scheme": "http",
            "server": ("test", 80), "app": service.app,
        }  # fmt: skip
        await service.app(scope, receive, send)
        assert (worker.pending_images, len(worker._queue)) == (1, 0)
        engine.gate.set()
        await first
    assert engine.batches == [1]


async def test_a_failing_network_fails_its_batch_and_the_next_request_works(running: Running) -> None:
    async with running() as service:
        engine = service.engines["tiny"]
        engine.failure = RuntimeError("secret detail")
        failed = await service.classify(picture(1))
        engine.failure = None
        works = await service.classify(picture(1))
    assert (failed.status_code, failed.json()["error"]["code"]) == (500, "inference_failed")
    assert "secret" not in failed.text
    assert works.status_code == 200


async def test_output_that_is_not_finite_is_never_answered_with_200(running: Running) -> None:
    def spoil(logits: Any) -> Any:
        logits[0] = np.nan
        return logits

    async with running() as service:
        service.engines["tiny"].spoil = spoil
        answer = await service.classify(picture(1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "inference_failed")


async def test_a_network_that_drops_a_row_fails_the_whole_batch(running: Running) -> None:
    async with running() as service:
        service.engines["tiny"].spoil = lambda logits: logits[:-1]
        context = service.app.state.context
        with pytest.raises(InferenceError):
            await context.worker.infer(context.registry.get("tiny"), np.zeros((8, 8, 3), np.uint8))


async def test_a_bug_in_rendering_answers_leaves_no_request_waiting(running: Running) -> None:
    async with running() as service:
        context = service.app.state.context
        served = context.registry.get("tiny")
        for _ in range(5):  # more requests than threads
            with pytest.raises(InferenceError):
                await context.worker.infer(served, np.zeros((8, 8, 3), np.uint8), OutputQuery(lambda *_: []))
        works = await service.classify(picture(1))
    assert works.status_code == 200


async def test_a_picture_that_failed_is_freed(running: Running) -> None:
    async with running(cache_mb=0) as service:
        served = service.app.state.context.registry.get("tiny")
        gc.collect()
        gc.disable()
        try:
            await service.classify(b"broken" * 4000)
            await service.classify(b"broken")
            for _ in range(100):  # the thread that decoded the picture has to release it, too
                held = sum(type(each) is Picture and each.served is served for each in gc.get_objects())
                if held == 0:  # counted without a list, which would keep them alive
                    break
                await asyncio.to_thread(time.sleep, 0.01)
        finally:
            gc.enable()
    assert held == 0


async def test_work_does_not_begin_for_a_disconnected_client(running: Running) -> None:
    async def work() -> None:
        raise AssertionError

    gone = ClientDisconnect()
    gone.notify()
    with pytest.raises(ClientDisconnectedError):
        await unless_disconnected(Request({"type": "http", DISCONNECT: gone}), work())


async def test_two_models_answer_at_the_same_time(running: Running, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path, "one", seed=1)
    write_tiny_bundle(tmp_path, "two", seed=2, num_classes=3)
    data = picture(9)
    async with running(models=tmp_path, real=True) as service:
        posts = [
            service.client.post(
                f"/v1/models/{name}/classify?alpha=0&top_k=3", content=data, headers={"Content-Type": "image/png"}
            )
            for name in ("one", "two") * 8
        ]
        answers = [answer.json() for answer in await asyncio.gather(*posts)]
    expected = {"one": TinyModel(seed=1), "two": TinyModel(3, 2)}
    for answer in answers:
        best = answer["results"][0]["predictions"][0]["classes"][0]
        assert best["index"] == expected[answer["model"]].logits(pixels(data)).argmax()


async def test_the_highest_version_is_served(running: Running, tmp_path: Path) -> None:
    for version in (2, 10):
        write_tiny_bundle(tmp_path, version=version, seed=version)
    async with running(models=tmp_path) as service:
        described = (await service.client.get("/v1/models/tiny")).json()
    assert (described["version"], described["versions"]) == (10, [2, 10])
    assert load_bundle(tmp_path / "tiny" / "10").manifest.provenance["seed"] == 10


async def test_jpeg_png_and_webp_are_told_apart_by_their_bytes(running: Running) -> None:
    grey = Image.new("RGB", (8, 8), (90, 90, 90))
    async with running() as service:
        for file_format in ("JPEG", "PNG", "WEBP"):
            file = io.BytesIO()
            grey.save(file, file_format)
            answer = await service.classify(file.getvalue(), headers={"Content-Type": "image/jpeg"})
            assert answer.status_code == 200


async def test_an_answer_to_many_pictures_is_bounded(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.web.picture_requests.MAX_LINES", 20)
    files = [("files", (str(seed), picture(seed))) for seed in range(3)]
    async with running() as service:
        few = await service.client.post(f"{CLASSIFY}?alpha=0&top_k=5", files=files)
        many = await service.client.post(f"{CLASSIFY}?alpha=0&alpha=1&top_k=5", files=files)
        single = await service.classify(picture(1), "?alpha=0&alpha=1&alpha=2&alpha=3&alpha=4&top_k=5")
        held = service.app.state.context.body_budget.held_bytes
    assert (few.status_code, single.status_code, held) == (200, 200, 0)
    assert (many.status_code, many.json()["error"]["code"]) == (413, "answer_too_large")
    assert "3 pictures with 10 lines each" in many.json()["error"]["message"]
