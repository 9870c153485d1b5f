"""Fixtures: the service in the test process, with the fake engine or with ONNX Runtime."""

import io
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from engines.fake import FakeEngine
from models.bundle import Bundle
from service.app import create_app
from service.catalog.loader import loader
from service.settings import Settings

CLASSIFY = "/v1/models/tiny/classify"


@dataclass
class Service:
    """A running app, a client for it, and the fake engine of each model."""

    app: FastAPI
    client: httpx.AsyncClient
    engines: dict[str, FakeEngine]

    async def classify(self, data: bytes, query: str = "", **options: Any) -> httpx.Response:
        headers = {"Content-Type": "image/png"} | options.pop("headers", {})
        return await self.client.post(f"{CLASSIFY}{query}", content=data, headers=headers, **options)


Running = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def running(tiny_bundle: Bundle, new_sqlite: Callable[[], str]) -> Running:
    """Return a function that runs the service, as in `async with running(max_batch_images=2) as service:`.

    Its keywords are settings. `real=True` uses ONNX Runtime instead of the fake engine. Without `database=`, the
    service gets a new SQLite file. `loading` is called with each bundle before its engine is created.
    """

    @asynccontextmanager
    async def run(
        *,
        models: Path = tiny_bundle.path.parent.parent,
        real: bool = False,
        loading: Callable[[Bundle], None] = lambda _: None,
        **options: Any,
    ) -> AsyncIterator[Service]:
        engines: dict[str, FakeEngine] = {}
        options.setdefault("database", new_sqlite())

        def make(bundle: Bundle) -> FakeEngine:
            loading(bundle)
            engines[bundle.manifest.name] = engine = FakeEngine(bundle)
            return engine

        settings = Settings(models=models, **options)
        app = create_app(settings, loader(settings, None if real else make))
        app.state.context.operating_points.spread_seconds = 0.0
        for engine in engines.values():
            engine.batches.clear()
            while engine.running.acquire(blocking=False):
                pass
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            yield Service(app, client, engines)

    return run


def picture(seed: int, side: int = 8) -> bytes:
    """Return a PNG with random pixels, different for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def anyio_backend() -> str:
    """Run the tests on asyncio, as the service does."""
    return "asyncio"
