"""The alpha routes: paths, priors and curves."""

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import tde
from models.bundle import save_bundle
from models.preprocess import decode_image
from models.prior import prior_shift
from tests.service.conftest import CLASSIFY, Running, Service, picture
from tests.tiny_bundle import TinyModel, write_tiny_bundle

pytestmark = pytest.mark.anyio
PATH = "/v1/models/tiny/alpha-path"
CURVE = "/v1/models/tiny/alpha/curve"
PNG = {"Content-Type": "image/png"}
MODEL = TinyModel()
WEIGHTS = json.dumps({f"class {index}": weight for index, weight in enumerate((1, 1, 1, 5, 20))})


async def path_of(service: Service, seed: int, query: str = "") -> list[dict[str, Any]]:
    answer = await service.client.post(PATH + query, content=picture(seed), headers=PNG)
    assert answer.status_code == 200, answer.text
    steps: list[dict[str, Any]] = answer.json()["results"][0]["path"]
    return steps


@pytest.mark.parametrize("prior", ["", "&prior=uniform", f"&prior={WEIGHTS}"])
async def test_the_path_agrees_with_classify_at_every_alpha(running: Running, prior: str) -> None:
    async with running(real=True) as service:
        for seed in range(5):
            steps = await path_of(service, seed, f"?{prior}")
            inner = [step["to"] for step in steps[:-1]]
            middles = [-90.0, *((a + b) / 2 for a, b in itertools.pairwise(inner)), 90.0]
            query = "&".join(f"alpha={alpha}" for alpha in (middles if inner else [0.0]))
            answer = await service.classify(picture(seed), f"?{query}{prior}")
            predictions = answer.json()["results"][0]["predictions"]
            assert [p["classes"][0]["index"] for p in predictions] == [step["index"] for step in steps]


async def test_a_path_is_ascending_gapless_and_unbounded(running: Running) -> None:
    async with running() as service:
        for seed in range(10):
            steps = await path_of(service, seed)
            assert (steps[0]["from"], steps[-1]["to"]) == (None, None)
            assert all(one["to"] == other["from"] for one, other in itertools.pairwise(steps))
            assert len({step["index"] for step in steps}) == len(steps)
            assert all({"name", "group"} <= step.keys() for step in steps)


async def test_a_path_begins_and_ends_where_the_request_says(running: Running) -> None:
    async with running() as service:
        steps = await path_of(service, 3, "?from=-1&to=2.5")
        half = await path_of(service, 3, "?from=0")
    assert (steps[0]["from"], steps[-1]["to"]) == (-1.0, 2.5)
    assert (half[0]["from"], half[-1]["to"]) == (0.0, None)


@pytest.mark.parametrize("query", ["?from=2&to=1", "?from=1&to=1", "?from=nan", "?from=inf", "?to=-inf", "?from=x"])
async def test_an_empty_path_is_refused(running: Running, query: str) -> None:
    async with running() as service:
        answer = await service.client.post(PATH + query, content=picture(1), headers=PNG)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["code"] in {"alpha_out_of_range", "invalid_request"}


async def test_in_a_form_a_broken_picture_has_no_path_and_the_others_do(running: Running) -> None:
    files = [("files", ("a.png", picture(5))), ("files", ("b.png", b"no picture"))]
    async with running() as service:
        answer = await service.client.post(PATH, files=files)
    first, broken = answer.json()["results"]
    assert (first["name"], "path" in first, broken["error"]["code"]) == ("a.png", True, "unreadable_image")


async def test_an_exact_path_is_refused_for_a_model_with_an_exempt_class(running: Running, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path, exempt_class=2)
    async with running(models=tmp_path) as service:
        answers = [
            await service.client.post(PATH, content=picture(1), headers=PNG),
            await service.client.get(f"{CURVE}?source=feedback"),
            await service.client.post("/v1/models/tiny/alpha/tune", json={"source": "feedback"}),
        ]
    assert [(a.status_code, a.json()["error"]["code"]) for a in answers] == [(422, "exempt_class")] * 3


def pixels(data: bytes) -> Any:
    return decode_image(data, MODEL.manifest().input)[None]


@pytest.mark.parametrize(("prior", "target"), [("uniform", (1, 1, 1, 1, 1)), (WEIGHTS, (1, 1, 1, 5, 20))])
async def test_a_prior_adds_its_log_ratio_at_every_alpha(running: Running, prior: str, target: tuple[int, ...]) -> None:
    data = picture(7)
    logits = MODEL.logits(pixels(data))
    cosine = MODEL.head_cosine(pixels(data))
    shift = prior_shift(np.array(target) / sum(target), MODEL.counts)
    async with running(real=True) as service:
        answer = await service.classify(data, f"?alpha=0&alpha=1.5&top_k=5&prior={prior}")
    for prediction, alpha in zip(answer.json()["results"][0]["predictions"], (0.0, 1.5), strict=True):
        expected = tde.softmax(tde.tde_logits(logits, cosine, MODEL.class_effect, alpha) + shift)[0]
        given = {c["index"]: c["probability"] for c in prediction["classes"]}
        np.testing.assert_allclose([given[i] for i in range(5)], expected, atol=1e-5)  # float32 graph


async def test_the_training_prior_changes_nothing(running: Running) -> None:
    async with running() as service:
        plain, train = [await service.classify(picture(1), query) for query in ("", "?prior=train")]
    assert plain.json()["results"][0]["predictions"] == train.json()["results"][0]["predictions"]


@pytest.mark.parametrize(
    "prior",
    ["even", "", "{", "[1, 2]", "{}", '{"class 0": 1}', '{"cow": 1}', '{"class 0": "1"}', '{"class 0": true}',
     WEIGHTS.replace("20", "0"), WEIGHTS.replace("20", "-1"), WEIGHTS.replace("20", "NaN"),
     WEIGHTS.replace("20", "1e999"), WEIGHTS.replace("20", "1" + "0" * 400), WEIGHTS.replace("20", "null"),
     WEIGHTS.replace("20", "[1]"), "{" * 5000]
)  # fmt: skip
@pytest.mark.parametrize("where", [CLASSIFY, PATH])
async def test_an_invalid_prior_is_refused(running: Running, where: str, prior: str) -> None:
    async with running() as service:
        answer = await service.client.post(where, params={"prior": prior}, content=picture(1), headers=PNG)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "prior_invalid"), answer.text
    assert len(answer.json()["error"]["message"]) > 15


async def test_a_prior_is_refused_if_a_class_has_no_training_images(running: Running, tmp_path: Path) -> None:
    class Unseen(TinyModel):
        @property
        def counts(self) -> Any:
            return np.array([500, 100, 50, 5, 0])

    model = Unseen()
    model.write(tmp_path, model.manifest())
    async with running(models=tmp_path) as service:
        answer = await service.classify(picture(1), "?prior=uniform")
        plain = await service.classify(picture(1))
    assert (answer.status_code, answer.json()["error"]["code"], plain.status_code) == (422, "prior_invalid", 200)
    assert "no training images" in answer.json()["error"]["message"]


async def label(service: Service, seeds: range) -> None:
    """Classify pictures and send each one's second-best class as its label."""
    answers = await asyncio.gather(*(service.classify(picture(seed), "?alpha=0") for seed in seeds))
    results = [answer.json()["results"][0] for answer in answers]
    labels = [{"id": r["id"], "label": r["predictions"][0]["classes"][1]["index"]} for r in results]
    given = await service.client.post("/v1/feedback", json=labels)
    assert not [r for r in given.json()["results"] if "error" in r], given.text


async def test_the_feedback_curve_is_computed_from_the_labels(running: Running) -> None:
    async with running(real=True) as service:
        none = await service.client.get(f"{CURVE}?source=feedback")
        await label(service, range(20))
        answer = (await service.client.get(f"{CURVE}?source=feedback&low=-1&high=4&points=11")).json()
        later = await service.client.get(f"{CURVE}?source=feedback&since=2999-01-01T00:00:00Z")
    assert (none.status_code, none.json()["error"]["code"]) == (404, "no_curve")
    assert later.status_code == 404
    assert (answer["images"], len(answer["alphas"]), answer["alphas"][0]) == (20, 11, -1.0)
    overall = dict(zip(answer["alphas"], answer["figures"]["overall"], strict=True))
    assert overall[0.0] == 0.0  # each label was the second-best class at alpha 0
    assert answer["optimum"]["value"] >= max(answer["figures"]["balanced"]) - 1e-9


async def test_the_drawn_range_does_not_change_the_optimum_and_figures_stay_in_0_to_1(running: Running) -> None:
    async with running(real=True) as service:
        await label(service, range(30))
        drawn = [(await service.client.get(f"{CURVE}?source=feedback&{q}")).json() for q in ("", "low=3&high=3.5")]
        summary = (await service.client.get("/v1/models/tiny/feedback")).json()["optimum"]
        tuned = (await service.client.post("/v1/models/tiny/alpha/tune", json={"source": "feedback"})).json()
    assert drawn[0]["optimum"] == drawn[1]["optimum"] == {key: tuned[key] for key in ("alpha", "interval", "value")}
    assert summary == {"alpha": tuned["alpha"], "interval": tuned["interval"], "balanced": tuned["value"]}
    assert all(0 <= value <= 1 for answer in drawn for values in answer["figures"].values() for value in values)


async def test_the_bundles_curve_is_returned_if_it_has_one(running: Running, tmp_path: Path) -> None:
    manifest = MODEL.manifest()
    points = {"alphas": [0.0, 1.0], "figures": {"overall": [0.5, 0.75]}}
    manifest.metrics["curve"] = points
    save_bundle(
        tmp_path / "tiny" / "1",
        manifest,
        model_onnx=MODEL.onnx().SerializeToString(),
        class_effect=MODEL.class_effect,
        mean_feature=MODEL.mean_feature,
        class_counts=MODEL.counts,
        readme="# tiny\n",
    )
    async with running(models=tmp_path) as service:
        answer = (await service.client.get(CURVE)).json()
    async with running() as service:
        none = await service.client.get(CURVE)
    expected = {"source": "bundle", "images": 100, "data": "none", "optimum": None}
    assert answer == expected | points
    assert (none.status_code, none.json()["error"]["code"]) == (404, "no_curve")


@pytest.mark.parametrize(
    "query",
    ["source=x", "source=feedback&low=2&high=1", "source=feedback&low=nan", "source=feedback&points=1",
     "source=feedback&points=1e9", "source=feedback&since=soon", "source=feedback&high=inf",
     "source=feedback&low=-1e308&high=1e308", "source=feedback&high=101"],
)  # fmt: skip
async def test_an_invalid_curve_request_is_refused(running: Running, query: str) -> None:
    async with running() as service:
        answer = await service.client.get(f"{CURVE}?{query}")
    assert answer.status_code == 422, answer.text
