"""Labels and priors name classes in any form; a number that could mean two classes is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.manifest import ClassInfo
from tests.service.conftest import Running, picture
from tests.tiny_bundle import TinyModel
from tests.zips import zip_of_bytes

pytestmark = pytest.mark.anyio
COMPOSED = "F\u00fcchse"
DECOMPOSED = "Fu\u0308chse"


def bundle_with(root: Path, *names: str) -> Path:
    """Write a bundle with these classes; return the models folder."""
    model = TinyModel(len(names), 0)
    manifest = model.manifest()
    classes = tuple(
        ClassInfo(name, info.training_count, info.group) for name, info in zip(names, manifest.classes, strict=True)
    )
    model.write(root, replace(manifest, classes=classes))
    return root


async def told(running: Running, models: Path, label: Any) -> Any:
    """Return the index that a label is stored as, or the message of the refusal."""
    async with running(models=models) as service:
        result = (await service.classify(picture(1))).json()["results"][0]["id"]
        answer = await service.client.post("/v1/feedback", json={"id": result, "label": label})
    body = answer.json()
    return body["label"]["index"] if answer.status_code == 200 else body["error"]["message"]


@pytest.mark.parametrize("stored", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("label", [COMPOSED, DECOMPOSED, f" {COMPOSED}", 2, 2.0])
async def test_a_class_is_labelled_in_any_form(running: Running, tmp_path: Path, stored: str, label: Any) -> None:
    assert await told(running, bundle_with(tmp_path, "cat", "dog", stored), label) == 2


@pytest.mark.parametrize(("label", "index"), [("10", 2), ("10.0", 2), (10, 2), (10.0, 2), (0, 0), ("1", 1), (1, 1)])
async def test_a_number_names_a_class(running: Running, tmp_path: Path, label: Any, index: int) -> None:
    assert await told(running, bundle_with(tmp_path, "0", "1", "10"), label) == index


@pytest.mark.parametrize("label", [2, 2.0])
async def test_a_number_with_two_meanings_is_refused(running: Running, tmp_path: Path, label: Any) -> None:
    models = bundle_with(tmp_path, "0", "1", "10", "2")
    assert "label 2 has two meanings: class 2 of tiny is '10', and '2' is class 3" in await told(running, models, label)
    assert await told(running, models, "2") == 3


@pytest.mark.parametrize("label", [2.5, True, None, 1e16, "01", "", "nan", 7, -1, "Cat"])
async def test_what_names_no_class_is_refused(running: Running, tmp_path: Path, label: Any) -> None:
    assert isinstance(await told(running, bundle_with(tmp_path, "cat", "1", "dog"), label), str)


async def test_a_prior_names_classes_in_any_form(running: Running, tmp_path: Path) -> None:
    async with running(models=bundle_with(tmp_path, "cat", COMPOSED), real=True) as service:
        answers = [
            await service.classify(picture(1), f"?prior={json.dumps({'cat': 1, name: 9})}")
            for name in (COMPOSED, DECOMPOSED, f"{COMPOSED} ")
        ]
    classes = [answer.json()["results"][0]["predictions"] for answer in answers]
    assert classes[0] == classes[1] == classes[2]


async def test_tuning_on_an_archive_reads_its_names_as_utf_8_or_asks(running: Running, tmp_path: Path) -> None:
    names = [f"{name}/{i}.png" for name in ("cat", COMPOSED) for i in range(3)]
    url = "/v1/models/tiny/alpha/tune?wait=30"

    def form(encoding: str) -> dict[str, Any]:
        files = {name.encode(encoding): picture(i) for i, name in enumerate(names)}
        return {"files": {"archive": ("labelled.zip", zip_of_bytes(files), "application/zip")}}

    async with running(models=bundle_with(tmp_path, "cat", DECOMPOSED), real=True) as service:
        finder = await service.client.post(url, **form("utf-8"))
        asked = await service.client.post(url, **form("cp850"))
        said = await service.client.post(url, data={"encoding": "cp850"}, **form("cp850"))
    assert finder.json()["images"] == 6
    assert (asked.status_code, asked.json()["error"]["code"]) == (422, "bad_archive")
    assert "send the encoding in a form field `encoding`" in asked.json()["error"]["message"]
    assert said.json()["alpha"] == finder.json()["alpha"]


async def test_tuning_on_traffic_takes_weights_by_names_in_any_form(running: Running, tmp_path: Path) -> None:
    async with running(models=bundle_with(tmp_path, "cat", COMPOSED), real=True) as service:
        for seed in range(4):
            await service.classify(picture(seed))
        alphas = []
        for name in (COMPOSED, DECOMPOSED):
            order = {"source": "traffic", "target": {"cat": 1, name: 3}}
            answer = await service.client.post("/v1/models/tiny/alpha/tune?wait=30", json=order)
            alphas.append(answer.json()["alpha"])
    assert alphas[0] == alphas[1]
