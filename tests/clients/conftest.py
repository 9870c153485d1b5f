"""A server process with the shipped models, which all clients talk to, and what they have to get from it."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from models.bundle import load_bundle
from tests.clients.environments import ROOT
from tests.service.server.test_process import free_port, server

collect_ignore_glob = ["programs/*"]  # they import what only their environments have


@dataclass(frozen=True)
class Address:
    """Where the server listens, each as HOST:PORT."""

    http: str
    grpc: str


@pytest.fixture(scope="session")
def shipped_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the models that this project ships, so that nothing is written beside the originals."""
    return shutil.copytree(ROOT / "models" / "shipped", tmp_path_factory.mktemp("clients") / "models")


@pytest.fixture(scope="session")
def address(shipped_models: Path) -> Iterator[Address]:
    """The address of `python -m service` with the shipped models, over HTTP and gRPC."""
    port = free_port()
    bundle = load_bundle(shipped_models / "cifar10-lt" / "2")
    with server(bundle, "--grpc-port", str(port)) as (_, url):
        yield Address(url.removeprefix("http://"), f"127.0.0.1:{port}")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `0.png`, `1.png` and `pixels.json`: two pictures of the model's size, as files and as numbers."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels = []
    for index, name in enumerate(("cat", "ship")):
        image = Image.open(ROOT / "tests" / "images" / f"{name}.webp").convert("RGB").resize((32, 32))
        image.save(folder / f"{index}.png")
        pixels.append(np.asarray(image).tolist())
    (folder / "pixels.json").write_text(json.dumps(pixels))
    return folder


@pytest.fixture(scope="session")
def probabilities(address: Address, pictures: Path) -> dict[float | str, list[list[float]]]:
    """Alpha -> the probabilities of the ten classes of `cifar10-lt` for both pictures, as `classify` gives them."""
    files = [("files", (f"{index}.png", (pictures / f"{index}.png").read_bytes())) for index in range(2)]
    expected: dict[float | str, list[list[float]]] = {}
    for alpha in ("balanced", 0, 0.5):
        url = f"http://{address.http}/v1/models/cifar10-lt/classify?alpha={alpha}&top_k=10"
        results = httpx.post(url, files=files, timeout=60).json()["results"]
        by_rank = [result["predictions"][0]["classes"] for result in results]
        expected[alpha] = [
            [each["probability"] for each in sorted(classes, key=lambda each: each["index"])] for classes in by_rank
        ]
    return expected
