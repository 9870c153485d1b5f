"""Models are replaced in a real server under traffic: no request fails, and no answer is wrong."""

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models import tde
from models.bundle import load_bundle
from models.update import Revision, update_bundle
from tests.service.conftest import CLASSIFY, picture
from tests.service.server.test_process import PNG, server
from tests.tiny_bundle import SIDE, TinyModel

SWAPS = 20
BALLAST = 2_500_000  # float32 values that make a version large, so that one that is not freed is noticed
ALPHAS = (0.0, 0.75, 2.0)
PICTURES = [picture(seed) for seed in range(50)]  # which repeat, so that some answers come from the cache
MAX_SECONDS = 20.0  # for one request or wait, even on a slow machine


def write_version(root: Path, version: int) -> Path:
    """Write a version with its own weights and ballast: a table from which the graph reads one 0."""
    model = TinyModel(seed=version)
    graph = model.onnx()
    ballast = numpy_helper.from_array(np.zeros(BALLAST, np.float32), "ballast")
    graph.graph.initializer.extend([ballast, numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes")])
    for node in graph.graph.node:
        node.output[:] = ["light" if name == "logits" else name for name in node.output]
    graph.graph.node.extend(
        [
            helper.make_node("Cast", ["images"], ["indices"], to=TensorProto.INT64),
            helper.make_node("ReduceMax", ["indices", "axes"], ["index"], keepdims=0),
            helper.make_node("Gather", ["ballast", "index"], ["zeros"]),
            helper.make_node("Unsqueeze", ["zeros", "one"], ["column"]),
            helper.make_node("Add", ["light", "column"], ["logits"]),
        ]
    )
    graph.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "one"))
    onnx.checker.check_model(graph)
    return model.write(root, model.manifest(version=version), model_onnx=graph.SerializeToString())


@cache
def expected(version: int, index: int) -> NDArray[Any]:
    """Return (A, C) logits of a picture at every alpha, computed without the server."""
    model = TinyModel(seed=version)
    pixels = np.random.default_rng(index).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)[None]
    logits, cosine = (
        np.repeat(part, len(ALPHAS), axis=0) for part in (model.logits(pixels), model.head_cosine(pixels))
    )
    return tde.tde_logits(logits, cosine, model.class_effect, np.array(ALPHAS))


@dataclass
class Clients:
    """Clients that classify pictures at several alpha, one request after the other, until they are stopped."""

    url: str
    stop: threading.Event = field(default_factory=threading.Event)
    seen: dict[int, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def ask(self, number: int) -> None:
        query = "&".join(f"alpha={alpha}" for alpha in ALPHAS)
        with httpx.Client(timeout=MAX_SECONDS) as client:
            while not self.stop.is_set():
                index = number % len(PICTURES)
                answer = client.post(f"{self.url}{CLASSIFY}?{query}&top_k=5", content=PICTURES[index], headers=PNG)
                number += 1
                if answer.status_code != 200:
                    self.wrong.append(answer.text)
                    continue
                body = answer.json()
                found = np.empty((len(ALPHAS), 5))
                for row, prediction in enumerate(body["results"][0]["predictions"]):
                    for each in prediction["classes"]:
                        found[row, each["index"]] = each["logit"]
                # float32 in another order: 1e-4; two versions differ by whole numbers.
                if not np.allclose(found, expected(body["version"], index), atol=1e-4):
                    self.wrong.append(f"version {body['version']}: {found}")
                self.seen[body["version"]] = self.seen.get(body["version"], 0) + 1


@contextmanager
def asking(url: str, clients: int) -> Iterator[Clients]:
    asked = Clients(url)
    threads = [threading.Thread(target=asked.ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield asked
    finally:
        asked.stop.set()
        for thread in threads:
            thread.join()


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + MAX_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@pytest.mark.slow
def test_a_model_replaced_twenty_times_under_traffic_fails_no_request(tmp_path: Path) -> None:
    """Memory: every version has 10 MB twice, for one thread and for all cores; 18 leaked versions would be 360 MB."""
    write_version(tmp_path, 1)
    bundle = load_bundle(tmp_path / "tiny" / "1")
    with server(bundle, "--watch-seconds", "0.05") as (process, url), httpx.Client() as client:

        def models() -> dict[str, Any]:
            found: dict[str, Any] = client.get(f"{url}/v1/models", timeout=MAX_SECONDS).json()
            return found

        def in_service() -> int:
            return int(models()["models"][0]["version"])

        resident = []
        with asking(url, clients=4) as asked:
            for version in range(2, SWAPS + 2):
                if version == 7:
                    bad = write_version(tmp_path / "bad", version) / "model.onnx"
                    bad.write_bytes(bad.read_bytes()[:-1])
                    bad.parent.rename(tmp_path / "tiny" / str(version))
                    until(lambda: models()["refused"], "the bad version is not refused")
                    assert in_service() == version - 1
                    shutil.rmtree(tmp_path / "tiny" / str(version))
                write_version(tmp_path, version)
                until(lambda v=version: in_service() == v and asked.seen.get(v), f"version {version} does not come")
                client.post(f"{url}/v2/repository/models/tiny/load", timeout=MAX_SECONDS).raise_for_status()
                if version % 5 == 0:
                    path = tmp_path / "tiny" / str(version)
                    update_bundle(path, lambda bundle: Revision(bundle.manifest, readme="# changed\n"))
                shutil.rmtree(tmp_path / "tiny" / str(version - 1))
                resident.append(resident_mb(process.pid))
            ready = client.get(f"{url}/readyz").status_code
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert asked.wrong == []
    assert sorted(asked.seen) == list(range(1, SWAPS + 2))
    assert (ready, process.returncode, "Traceback" in log) == (200, 0, False)
    assert log.count(" is freed, ") >= SWAPS
    assert max(resident[10:]) - max(resident[:5]) < 60, resident


@pytest.mark.slow
def test_every_process_follows_when_a_model_is_unloaded_and_loaded(tmp_path: Path) -> None:
    for name in ("tiny", "other"):
        TinyModel().write(tmp_path, TinyModel().manifest(name))
    with server(load_bundle(tmp_path / "tiny" / "1"), "--workers", "2", "--watch-seconds", "0") as (process, url):

        def answers(model: str) -> set[tuple[int, int]]:
            """Return the statuses and versions of answers on new connections, which go to both processes."""
            found = set()
            for _ in range(24):
                with httpx.Client(transport=httpx.HTTPTransport(retries=20), timeout=MAX_SECONDS) as client:
                    answer = client.post(f"{url}/v1/models/{model}/classify", content=PICTURES[0], headers=PNG)
                    found.add((answer.status_code, answer.json().get("version", 0)))
            return found

        def command(what: str) -> None:
            httpx.post(f"{url}/v2/repository/models/tiny/{what}", timeout=MAX_SECONDS).raise_for_status()

        served = answers("tiny")
        command("unload")
        unloaded = answers("tiny")
        beside = answers("other")
        TinyModel().write(tmp_path, TinyModel().manifest(version=2))
        command("load")
        loaded = answers("tiny")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert (served, unloaded, beside, loaded) == ({(200, 1)}, {(404, 0)}, {(200, 1)}, {(200, 2)})
