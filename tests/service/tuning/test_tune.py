"""Choosing alpha over HTTP: on an archive, on feedback, and on traffic without labels."""

import asyncio
import io
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models import tde
from models.bundle import save_bundle
from models.objective import Objective
from models.optimum import optimum
from models.preprocess import decode_image
from models.scores import Scores
from models.tuning import tune
from service.schemas.tuning import JobDescription, TuneReport
from tests.service.conftest import Running, Service, picture
from tests.tiny_bundle import TinyModel, write_tiny_bundle

pytestmark = pytest.mark.anyio
TUNE = "/v1/models/tiny/alpha/tune"
MODEL = TinyModel()
GROUPS = tuple(info.group for info in MODEL.manifest().classes)
PER_CLASS = 6


def labelled() -> dict[str, bytes]:
    """Class folders of random pictures; the labels may be wrong, but must be the same for both sides."""
    return {f"set/class {c}/{n}.png": picture(100 * c + n) for c in range(5) for n in range(PER_CLASS)}


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def scores_of(files: dict[str, bytes]) -> Scores:
    pixels = np.stack([decode_image(data, MODEL.manifest().input) for data in files.values()])
    labels = np.array([int(name.split("/")[-2].split()[1]) for name in files])
    slope = tde.head_effect(MODEL.head_cosine(pixels), MODEL.class_effect)
    return Scores(MODEL.logits(pixels), slope, labels, GROUPS)


async def send(service: Service, archive: bytes, query: str = "?wait=30", **fields: Any) -> httpx.Response:
    files = {"archive": ("labelled.zip", archive, "application/zip")}
    return await service.client.post(TUNE + query, data=fields, files=files)


async def ask(service: Service, query: str = "?wait=30", **order: Any) -> httpx.Response:
    return await service.client.post(TUNE + query, json=order)


async def test_an_archive_is_tuned_as_on_the_command_line(running: Running) -> None:
    files = labelled()
    expected = tune(scores_of(files), MODEL.counts, Objective())
    async with running(real=True) as service:
        report = (await send(service, zipped(files))).json()
    assert (report["model"], report["version"], report["source"], report["images"]) == ("tiny", 1, "archive", 30)
    for name in ("alpha", "value", "interval", "confidence_interval"):
        assert report[name] == pytest.approx(expected[name], abs=1e-4), name  # a float32 graph, another order of sums
    for name in ("before", "after", "gain"):
        assert report[name] == pytest.approx(expected[name], abs=1e-4), name
    assert report["logit_adjustment"]["after"] == pytest.approx(expected["logit_adjustment"]["after"], abs=1e-4)
    assert report["curve"]["figures"].keys() == expected["curve"]["figures"].keys()
    assert (report["unreadable"], report["saved_as"]) == ([], None)


async def test_training_pictures_in_an_archive_are_not_tuned_on_and_the_report_says_so(running: Running) -> None:
    files = {name.replace("set/", "set/valid/"): data for name, data in labelled().items()}
    pooled = files | {name.replace("valid", "train"): picture(7) for name in files}
    async with running(real=True) as service:
        alone = (await send(service, zipped(files))).json()
        report = (await send(service, zipped(pooled))).json()
    assert report["data_note"] == "the val split of the archive; its train split (30 pictures) is not used"
    assert (report["images"], report["alpha"], report["after"]) == (30, alone["alpha"], alone["after"])


async def test_the_report_and_the_pages_example_have_the_documented_fields(running: Running) -> None:
    async with running(real=True) as service:
        report = (await send(service, zipped(labelled()))).json()
        schemas = (await service.client.get("/openapi.json")).json()["components"]["schemas"]
    (example,) = schemas["TuneReport"]["examples"]
    for shown in (report, example):
        TuneReport.model_validate(shown)
    JobDescription.model_validate(*schemas["JobDescription"]["examples"])
    assert report.keys() == example.keys() - {"target", "label_free_alpha"}


async def test_constraints_hold_and_infeasible_ones_are_refused(running: Running) -> None:
    archive = zipped(labelled())
    async with running(real=True) as service:
        free = (await send(service, archive)).json()
        bound = free["before"]["overall"]
        held = await send(service, archive, constraint=[f"overall >= {bound}", "many >= 0"], objective="few")
        never = await send(service, archive, constraint="overall >= 1")
    assert held.json()["after"]["overall"] >= bound - 1e-9
    assert held.json()["constraints"] == [f"overall >= {bound:g}", "many >= 0"]
    assert (never.status_code, never.json()["error"]["code"]) == (422, "infeasible")
    assert "overall reaches" in never.json()["error"]["message"]


async def test_a_misspelt_field_of_the_form_is_refused_not_ignored(running: Running) -> None:
    async with running() as service:
        answers = [
            await send(service, zipped(labelled()), **{name: "many >= 0.8"}) for name in ("constraints", "save-as")
        ]
    assert [(a.status_code, a.json()["error"]["code"]) for a in answers] == [(422, "invalid_request")] * 2


async def test_a_saved_alpha_is_in_force_on_the_next_request_with_its_history(running: Running) -> None:
    async with running(real=True) as service:
        fields = {"save_as": "mine", "who": "ada", "why": "new camera"}
        report = (await send(service, zipped(labelled()), **fields)).json()
        used = await service.classify(picture(1), "?alpha=mine")
        point = (await service.client.get("/v1/models/tiny/operating-points/mine")).json()
    assert report["saved_as"] == "mine"
    assert used.json()["results"][0]["predictions"][0]["alpha"] == report["alpha"] == point["alpha"]
    assert point["chosen_by"] == "best mean per-class recall, on 30 labelled pictures of labelled.zip"
    assert (point["history"][0]["who"], point["history"][0]["why"]) == ("ada", "new camera")


async def test_unreadable_pictures_are_listed_until_they_are_too_many(running: Running) -> None:
    files = labelled()
    some = files | {"set/class 1/broken.png": b"no picture", "set/class 2/empty.png": b""}
    many = files | {f"set/class 1/broken{n}.png": b"no picture" for n in range(10)}
    async with running(real=True) as service:
        listed = await send(service, zipped(some))
        refused = await send(service, zipped(many))
    assert {each["name"] for each in listed.json()["unreadable"]} == some.keys() - files.keys()
    assert listed.json()["images"] == 30
    assert all(each["error"]["code"] == "unreadable_image" for each in listed.json()["unreadable"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "too_many_unreadable")


async def test_a_long_job_can_be_polled_and_cancelled(running: Running) -> None:
    async with running(inference_threads=1) as service:
        engine = service.engines["tiny"]
        engine.gate.clear()
        accepted = await send(service, zipped(labelled()), "?wait=0")
        job = accepted.json()["job"]
        await asyncio.to_thread(engine.running.acquire)
        polled = (await service.client.get(accepted.headers["Location"])).json()
        cancelled = (await service.client.delete(accepted.headers["Location"])).json()
        engine.gate.set()
        again = await send(service, zipped(labelled()))
    assert accepted.status_code == 202
    assert (job["state"], polled["state"], polled["total"]) == ("running", "running", 30)
    assert (cancelled["state"], cancelled["result"], cancelled["error"]) == ("cancelled", None, None)
    assert again.status_code == 200
    assert len(service.app.state.context.worker._queue) == 0


async def test_a_request_that_waits_for_a_cancelled_job_gets_an_error(running: Running) -> None:
    async with running(inference_threads=1) as service:
        engine = service.engines["tiny"]
        jobs = service.app.state.context.jobs
        engine.gate.clear()
        waits = asyncio.create_task(send(service, zipped(labelled())))
        await asyncio.to_thread(engine.running.acquire)
        await service.client.delete(f"/v1/jobs/{next(iter(jobs._open))}")
        engine.gate.set()
        answer = await waits
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "job_cancelled")


async def test_the_list_of_unreadable_pictures_is_bounded(running: Running) -> None:
    files = labelled() | {f"class 0/{n}.png": picture(n) for n in range(1300)}
    broken = {f"class 1/{'x' * 5000}{n}.png": b"" for n in range(130)}
    async with running() as service:
        report = (await send(service, zipped(files | broken))).json()
    assert (len(report["unreadable"]), report["unreadable_images"]) == (100, 130)
    assert max(len(each["name"]) for each in report["unreadable"]) == 255


async def test_an_unprintable_archive_name_is_not_stored(running: Running) -> None:
    files = {"archive": ("evil\x1b[31m.zip", zipped(labelled()), "application/zip")}
    async with running(real=True) as service:
        await service.client.post(TUNE + "?wait=30", data={"save_as": "mine"}, files=files)
        point = (await service.client.get("/v1/models/tiny/operating-points/mine")).json()
    assert point["chosen_by"].endswith("labelled pictures of an archive")


async def test_a_job_that_is_done_holds_the_report(running: Running) -> None:
    async with running(real=True) as service:
        accepted = await send(service, zipped(labelled()), "?wait=0")
        location = accepted.headers["Location"]
        while (polled := (await service.client.get(location)).json())["state"] in {"queued", "running"}:
            await asyncio.sleep(0)
        at_once = (await send(service, zipped(labelled()))).json()
    assert (polled["state"], polled["done"], polled["total"]) == ("done", 30, 30)
    assert polled["result"] == at_once


async def test_a_job_slows_requests_by_its_share_at_most(running: Running) -> None:
    async with running(inference_threads=1, max_batch_images=4) as service:
        engine = service.engines["tiny"]
        worker = service.app.state.context.worker
        engine.gate.clear()
        await send(service, zipped(labelled()), "?wait=0")
        await asyncio.to_thread(engine.running.acquire)
        waits = asyncio.create_task(service.classify(picture(1)))
        while worker.pending_images < 1:
            await asyncio.sleep(0)
        assert len(worker._queue) <= 16
        engine.gate.set()
        assert (await waits).status_code == 200


async def labelled_traffic(service: Service, images: int = 40) -> None:
    """Classify pictures, and send the top class at alpha = 2 as the label."""
    answers = await asyncio.gather(*(service.classify(picture(s), "?alpha=0&alpha=2") for s in range(images)))
    results = [answer.json()["results"][0] for answer in answers]
    labels = [{"id": r["id"], "label": r["predictions"][1]["classes"][0]["index"]} for r in results]
    assert (await service.client.post("/v1/feedback", json=labels)).status_code == 200


async def test_both_addresses_take_both_bodies(running: Running) -> None:
    async with running(real=True) as service:
        await labelled_traffic(service)
        asked = [await ask(service, end + "?wait=30", source="feedback") for end in ("", "-on-results")]
        sent = [await send(service, zipped(labelled()), end + "?wait=30") for end in ("", "-on-results")]
    assert [answer.status_code for answer in (*asked, *sent)] == [200] * 4
    assert [answer.json()["source"] for answer in (*asked, *sent)] == ["feedback"] * 2 + ["archive"] * 2
    assert asked[0].json()["alpha"] == asked[1].json()["alpha"]


async def test_tuning_on_feedback_finds_the_alpha_of_its_labels(running: Running) -> None:
    async with running(real=True) as service:
        await labelled_traffic(service)
        report = (await ask(service, source="feedback", objective="overall", save_as="live")).json()
        since = await ask(service, source="feedback", since="2999-01-01T00:00:00Z")
        point = (await service.client.get("/v1/models/tiny/operating-points/live")).json()
    low, high = report["interval"]
    assert low <= 2.0 <= high
    assert (report["after"]["overall"], report["images"], report["logit_adjustment"]) == (1.0, 40, None)
    assert (since.status_code, since.json()["error"]["code"]) == (422, "cannot_tune")
    assert point["chosen_by"] == "best accuracy, on 40 labels of feedback"


@pytest.mark.parametrize("target", ["uniform", "train", {f"class {c}": 1 + c for c in range(5)}])
async def test_traffic_without_labels_comes_closest_to_the_target(running: Running, target: Any) -> None:
    pixels = np.stack([decode_image(picture(seed), MODEL.manifest().input) for seed in range(40)])
    logits = MODEL.logits(pixels)
    slope = tde.head_effect(MODEL.head_cosine(pixels), MODEL.class_effect)
    async with running(real=True) as service:
        none = await ask(service, source="traffic", target=target)
        await asyncio.gather(*(service.classify(picture(seed)) for seed in range(40)))
        service.app.state.context.results.flush()
        report = (await ask(service, source="traffic", target=target)).json()
    wanted = np.array(list(report["target"].values()))
    assert wanted.sum() == pytest.approx(1.0)
    for alpha in np.linspace(-8, 8, 161):
        mean = tde.softmax(logits - alpha * slope).mean(axis=0)
        assert report["value"] <= (wanted * np.log(wanted / mean)).sum() + 1e-5
    assert report["images"] == 40
    assert report["after"]["divergence"] <= report["before"]["divergence"]
    assert (none.status_code, none.json()["error"]["code"]) == (422, "cannot_tune")


async def test_estimating_the_prior_of_traffic_needs_a_calibration(running: Running, tmp_path: Path) -> None:
    manifest = MODEL.manifest()
    manifest.metrics["calibration"] = {"temperature": 2.0, "bias": [0.0, 0.1, 0.0, -0.1, 0.0]}
    files = {"model_onnx": MODEL.onnx().SerializeToString(), "readme": "# tiny\n"}
    arrays = {"class_effect": MODEL.class_effect, "mean_feature": MODEL.mean_feature, "class_counts": MODEL.counts}
    save_bundle(tmp_path / "tiny" / "1", manifest, **files, **arrays)
    answers = []
    for options in ({}, {"models": tmp_path}):
        async with running(real=True, **options) as service:
            await asyncio.gather(*(service.classify(picture(seed)) for seed in range(40)))
            service.app.state.context.results.flush()
            answers.append(await ask(service, source="traffic", target="estimated"))
    assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (422, "prior_invalid")
    assert "has no calibration" in answers[0].json()["error"]["message"]
    assert sum(answers[1].json()["target"].values()) == pytest.approx(1.0)


REFUSED = {
    "unknown objective": ({"source": "feedback", "objective": "f1"}, 422, "cannot_tune"),
    "unknown source": ({"source": "archive"}, 422, "invalid_request"),
    "no source": ({}, 422, "invalid_request"),
    "unknown field": ({"source": "feedback", "alpha": 1}, 422, "invalid_request"),
    "no list": ({"source": "feedback", "constraints": "overall >= 0.5"}, 422, "invalid_request"),
    "no constraint": ({"source": "feedback", "constraints": ["overall > 0.5"]}, 422, "cannot_tune"),
    "many constraints": ({"source": "feedback", "constraints": ["many >= 0"] * 9}, 422, "invalid_request"),
    "range": ({"source": "feedback", "low": 3, "high": 1}, 422, "cannot_tune"),
    "far": ({"source": "feedback", "low": 1e38, "high": 1e39, "save_as": "balanced"}, 422, "alpha_out_of_range"),
    "over max_alpha": ({"source": "traffic", "low": -200, "high": 200}, 422, "alpha_out_of_range"),
    "objective of traffic": ({"source": "traffic", "objective": "few"}, 422, "invalid_request"),
    "constraint of traffic": ({"source": "traffic", "constraints": ["overall >= 1"]}, 422, "invalid_request"),
    "target of feedback": ({"source": "feedback", "target": "uniform"}, 422, "invalid_request"),
    "since": ({"source": "feedback", "since": "soon"}, 422, "invalid_request"),
    "bad name": ({"source": "feedback", "save_as": "No Name"}, 422, "operating_point_name_invalid"),
    "a number": ({"source": "feedback", "save_as": "1.5"}, 422, "operating_point_name_invalid"),
    "head": ({"source": "feedback", "save_as": "head"}, 409, "operating_point_fixed"),
    "long why": ({"source": "feedback", "why": "x" * 501}, 422, "invalid_request"),
    "target": ({"source": "traffic", "target": "even"}, 422, "invalid_request"),
    "a list": ([1], 422, "invalid_request"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
async def test_an_invalid_request_gets_a_message_at_once(running: Running, case: tuple[Any, int, str]) -> None:
    body, status, code = case
    async with running() as service:
        answer = await service.client.post(TUNE, json=body)
        kept = service.app.state.context.jobs
        assert not kept._open
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert len(answer.json()["error"]["message"]) > 15


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {"Content-Type": "application/json"}, 422, "invalid_request"),
        (b"[" * 10_000, {"Content-Type": "application/json"}, 422, "invalid_request"),
        (b"x", {"Content-Type": "application/zip"}, 415, "unsupported_media_type"),
        (b"", {}, 422, "invalid_request"),
        (b"x", {"Content-Type": "multipart/form-data"}, 400, "bad_multipart"),
        (b"x", {"Content-Type": "multipart/form-data; boundary=b"}, 400, "bad_multipart"),
        (b"--b--\r\n", {"Content-Type": "multipart/form-data; boundary=b"}, 400, "bad_multipart"),
    ],
)
async def test_a_broken_body_gets_a_message(
    running: Running, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    async with running() as service:
        answer = await service.client.post(TUNE, content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


async def test_unusable_archives_get_a_message(running: Running) -> None:
    cow = zipped({"cow/1.png": picture(1)})
    async with running(max_archive_mb=0.1, max_archive_files=3) as service:
        answers = [
            await send(service, archive) for archive in (b"no zip", cow, zipped({}), zipped(labelled()), bytes(200_000))
        ]
        text = await service.client.post(TUNE, data={"archive": "text"}, files={"other": b""})
    codes = [(answer.status_code, answer.json()["error"]["code"]) for answer in (*answers, text)]
    bad = (422, "bad_archive")
    many = (413, "too_many_files")
    large = (413, "body_too_large")
    unknown = (422, "invalid_request")
    assert codes == [bad, bad, bad, many, large, unknown]


async def test_labels_of_some_classes_are_enough(running: Running) -> None:
    files = {name: data for name, data in labelled().items() if "class 4" not in name and "class 3" not in name}
    best = optimum(scores_of(files).labelled_intervals(), Objective())
    async with running(real=True) as service:
        report = (await send(service, zipped(files))).json()
        few = await send(service, zipped(files), objective="few")
    assert report["alpha"] == pytest.approx(best.alpha, abs=1e-4)
    assert report["after"]["few"] is None
    assert (few.status_code, few.json()["error"]["code"]) == (422, "cannot_tune")


async def test_without_a_database_tuning_answers_503_and_classification_continues(running: Running) -> None:
    async with running(database="sqlite:////proc/nowhere/longtail.db") as service:
        answer = await send(service, zipped(labelled()))
        fine = await service.classify(picture(1))
    assert (answer.status_code, answer.json()["error"]["code"], fine.status_code) == (503, "storage_unavailable", 200)


async def test_two_models_are_tuned_separately(running: Running, tmp_path: Path) -> None:
    for name, seed in (("tiny", 0), ("other", 3)):
        write_tiny_bundle(tmp_path, name, seed=seed)
    files = {"archive": ("a.zip", zipped(labelled()), "application/zip")}
    async with running(real=True, models=tmp_path) as service:
        posts = [service.client.post(f"/v1/models/{m}/alpha/tune?wait=30", files=files) for m in ("tiny", "other")]
        reports = [answer.json() for answer in await asyncio.gather(*posts)]
    assert [report["model"] for report in reports] == ["tiny", "other"]
    assert reports[0]["alpha"] != reports[1]["alpha"]
