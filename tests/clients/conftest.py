"""A server process with the shipped models, which all clients talk to."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.bundle import load_bundle
from tests.clients.environments import ROOT
from tests.service.server.test_process import free_port, server


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
