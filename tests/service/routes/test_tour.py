"""One complete tour with real pictures, the real server and a shipped model, from traffic to an alpha in force."""

import signal
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.bundle import load_bundle
from tests.service.server.test_process import server

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data" / "cifar10-lt.zip"
BUNDLE = ROOT / "models" / "shipped" / "cifar10-lt" / "2"
MODEL = "/v1/models/cifar10-lt"
PER_CLASS = 50

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.exists(), reason=f"the tour: NOT tested, there is no {DATA.name} in ../shared/data"),
]


def pictures() -> list[tuple[str, bytes]]:
    """Return 500 test pictures of CIFAR-10 and their labels."""
    chosen: dict[str, list[bytes]] = {}
    with zipfile.ZipFile(DATA) as archive:
        for name in archive.namelist():
            split, _, rest = name.partition("/")
            label, _, file = rest.partition("/")
            if split == "test" and file and len(chosen.setdefault(label, [])) < PER_CLASS:
                chosen[label].append(archive.read(name))
    return [(label, data) for label, files in chosen.items() for data in files]


def classify(client: httpx.Client, data: bytes, alpha: str) -> dict[str, Any]:
    headers = {"Content-Type": "image/webp"}
    answer = client.post(f"{MODEL}/classify?alpha={alpha}&top_k=1", content=data, headers=headers)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()["results"][0]
    return result


def test_feedback_becomes_an_alpha_in_force_that_survives_a_restart(tmp_path: Path) -> None:
    bundle = load_bundle(BUNDLE)
    labelled = pictures()
    assert len(labelled) == 500
    flags = ("--database", f"sqlite:///{tmp_path / 'tour.db'}")
    with server(bundle, *flags) as (process, url), httpx.Client(base_url=url, timeout=60) as client:
        with ThreadPoolExecutor(4) as threads:
            results = list(threads.map(lambda pair: classify(client, pair[1], "head"), labelled))
        feedback = [{"id": result["id"], "label": label} for result, (label, _) in zip(results, labelled, strict=True)]
        given = client.post("/v1/feedback", json=feedback).json()["results"]
        assert not [each for each in given if "error" in each]
        order = {"source": "feedback", "objective": "balanced", "save_as": "today", "who": "tour", "why": "a test"}
        report = client.post(f"{MODEL}/alpha/tune?wait=30", json=order).json()
        in_force = classify(client, labelled[0][1], "today")["predictions"][0]["alpha"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert in_force == report["alpha"]
    assert report["images"] == 500
    right = sum(
        r["predictions"][0]["classes"][0]["name"] == label for r, (label, _) in zip(results, labelled, strict=True)
    )
    assert report["before"]["overall"] == pytest.approx(right / 500)
    card = bundle.manifest.metrics["protocol"]
    expected = card["cross_fitted"]["balanced"] - card["zero"]["balanced"]
    assert report["gain"]["balanced"] > expected - 0.05  # 500 pictures: a standard error of 2 points

    with server(bundle, *flags) as (_, url), httpx.Client(base_url=url, timeout=60) as client:
        with ThreadPoolExecutor(4) as threads:
            again = list(threads.map(lambda pair: classify(client, pair[1], "today"), labelled))
        point = client.get(f"{MODEL}/operating-points/today").json()
        summary = client.get(f"{MODEL}/feedback").json()
    right = sum(
        r["predictions"][0]["classes"][0]["name"] == label for r, (label, _) in zip(again, labelled, strict=True)
    )
    assert {result["predictions"][0]["alpha"] for result in again} == {report["alpha"]}
    assert right / 500 == pytest.approx(report["after"]["overall"])
    assert (point["history"][0]["who"], point["history"][0]["why"]) == ("tour", "a test")
    assert summary["labels"] == 500
