"""The routes of models, probes, metrics and the documentation page, and the contract in the reference."""

import re

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from models.bundle import Bundle
from tests.service.conftest import Running, picture

pytestmark = pytest.mark.anyio


async def test_models_are_listed_and_described(running: Running, tiny_bundle: Bundle) -> None:
    async with running() as service:
        listed = (await service.client.get("/v1/models")).json()["models"]
        described = (await service.client.get("/v1/models/tiny")).json()
    assert [(model["name"], model["operating_points"]["tail"]) for model in listed] == [("tiny", 2.0)]
    assert described["classes"][4] == {"name": "class 4", "training_count": 6, "group": "few"}
    bundles_own = {"alpha": 1.5, "chosen_by": "for tests: 1.5", "source": "bundle", "since": None}
    assert described["operating_points"]["balanced"] == bundles_own
    np.testing.assert_array_equal(described["class_effect"], tiny_bundle.class_effect)
    assert {"input", "metrics", "provenance", "engine"} <= described.keys()


async def test_ready_only_between_start_and_drain(running: Running) -> None:
    async with running() as service:
        lifecycle = service.app.state.context.lifecycle
        ready = await service.client.get("/readyz")
        lifecycle.draining = True
        draining = await service.client.get("/readyz")
        alive = await service.client.get("/livez")
    assert [ready.status_code, draining.status_code, alive.status_code] == [200, 503, 200]
    assert draining.json()["error"]["code"] == "not_ready"


async def test_metrics_count_images_batches_and_errors(running: Running) -> None:
    async with running() as service:
        await service.classify(picture(1))
        await service.classify(b"broken")
        text = (await service.client.get("/metrics")).text
    values = {
        (s.name, *s.labels.values()): s.value for family in text_string_to_metric_families(text) for s in family.samples
    }
    assert values["longtail_images_total", "tiny"] == 1
    assert values["longtail_errors_total", "unreadable_image"] == 1
    assert values["longtail_image_errors_total", "unreadable_image", "tiny"] == 1
    assert values["longtail_batch_images_count", "tiny"] == 1
    assert (values["longtail_pending_images",], values["longtail_pending_images_limit",]) == (0, 512)
    stages = ("decode", "queue", "inference", "alpha", "render")
    assert [values["longtail_stage_seconds_count", "tiny", stage] for stage in stages] == [1] * 5
    assert values["longtail_head_distance_count", "tiny"] == 1
    assert 0 <= values["longtail_head_distance_sum", "tiny"] <= 2
    assert values["longtail_requests_total", "/v1/models/{model}/classify", "200"] == 1


async def test_unknown_paths_add_no_metric_series(running: Running) -> None:
    async with running() as service:
        await service.client.get("/")
        before = len((await service.client.get("/metrics")).text.splitlines())
        await service.client.get("/other")
        first = len((await service.client.get("/metrics")).text.splitlines())
        for number in range(20):
            await service.client.get(f"/path-{number}")
            await service.client.post(f"/v1/models/m{number}/classify")
        after = len((await service.client.get("/metrics")).text.splitlines())
    assert before < first
    assert after - first < 60


async def test_the_documentation_page_loads_nothing_from_other_hosts(running: Running) -> None:
    async with running() as service:
        page = await service.client.get("/docs")
        assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        answers = [await service.client.get(f"/{asset}") for asset in assets]
    assert len(assets) >= 2
    assert all(answer.status_code == 200 for answer in answers)
    assert not re.search(r"https?://", page.text)


async def test_openapi_describes_both_kinds_of_body_and_the_errors(running: Running) -> None:
    async with running() as service:
        schema = (await service.client.get("/openapi.json")).json()
    operation = schema["paths"]["/v1/models/{model}/classify"]["post"]
    assert list(operation["requestBody"]["content"]) == ["multipart/form-data", "application/octet-stream"]
    assert {"200", "404", "413", "415", "422", "503"} <= operation["responses"].keys()
    assert {parameter["name"] for parameter in operation["parameters"]} == {
        "model",
        "version",
        "alpha",
        "top_k",
        "prior",
        "timeout_ms",
    }
    assert "HTTPValidationError" not in schema["components"]["schemas"]  # every error has the service's own shape


async def test_every_operation_has_examples_to_try(running: Running) -> None:
    async with running() as service:
        paths = (await service.client.get("/openapi.json")).json()["paths"]
    operations = [operation for methods in paths.values() for operation in methods.values()]
    parameters = [each for operation in operations for each in operation.get("parameters", ())]
    assert not [each["name"] for each in parameters if each["in"] == "path" and not each.get("examples")]
    bodies = [operation["requestBody"]["content"] for operation in operations if "requestBody" in operation]
    assert all(body["application/json"]["examples"] for body in bodies if "application/json" in body)
    form = paths["/v1/models/{model}/alpha/tune"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert form["encoding"]["constraint"]["explode"]  # otherwise the page sends all constraints in one field


async def test_both_probes_are_not_ready_without_a_model(running: Running) -> None:
    async with running() as service:
        service.app.state.context.registry.replace("tiny", ())
        answers = [await service.client.get(path) for path in ("/readyz", "/v2/health/ready")]
    assert [answer.status_code for answer in answers] == [503, 503]
