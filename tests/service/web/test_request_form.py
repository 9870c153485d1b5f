"""HEAD is answered as GET without a body, on every route; a slash at the end of an address makes no difference."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter

from models.bundle import Bundle
from service.keys import new_key
from service.routes import alpha, classify, feedback, health, infer, jobs, models, openinference, operating_points, tune
from tests.service.conftest import CLASSIFY, Running, picture
from tests.service.server.live import live

pytestmark = pytest.mark.anyio
MODULES = (alpha, classify, feedback, health, infer, jobs, models, openinference, operating_points, tune)
ROUTERS = [each for module in MODULES for each in vars(module).values() if isinstance(each, APIRouter)]
ROUTES = [route for router in ROUTERS for route in router.routes if getattr(route, "include_in_schema", False)]
PATHS = sorted({re.sub(r"\{(\w+)\}", "{}", route.path) for route in ROUTES})  # type: ignore[attr-defined]
PAGES = ["/", "/docs", "/openapi.json", "/playground/page.js", "/docs/assets/start.js", "/playground/samples/cat.webp"]
CHANGING = {"x-request-id", "date"}


def filled(path: str) -> str:
    """The path of an existing model, version and operating point."""
    path = path.replace("/models/{}", "/models/tiny").replace("/versions/{}", "/versions/1")
    return path.replace("/operating-points/{}", "/operating-points/balanced").replace("/jobs/{}", "/jobs/none")


@pytest.fixture(scope="module")
def client(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("live")
    with live(tiny_bundle, folder) as ((host, port), _), httpx.Client(base_url=f"http://{host}:{port}") as client:
        yield client


def test_the_paths_are_those_of_the_documentation(client: httpx.Client) -> None:
    described = {re.sub(r"\{(\w+)\}", "{}", path) for path in client.get("/openapi.json").json()["paths"]}
    assert described == set(PATHS)


@pytest.mark.parametrize("path", [*PATHS, *PAGES, "/nothing", "/v1/models/none", "/v2/models/none"])
def test_head_is_answered_as_get_without_a_body(client: httpx.Client, path: str) -> None:
    path = filled(path)
    got = client.get(path)
    asked = client.head(path)
    assert asked.status_code == got.status_code
    assert asked.content == b""
    assert asked.headers.keys() == got.headers.keys()
    if path != "/metrics" and got.status_code < 400:
        assert {k: v for k, v in asked.headers.items() if k not in CHANGING} == {
            k: v for k, v in got.headers.items() if k not in CHANGING
        }
    assert int(asked.headers["content-length"]) > 0
    if got.status_code == 405:
        assert asked.headers["allow"] == got.headers["allow"]
        assert "HEAD" not in asked.headers["allow"]


@pytest.mark.parametrize("path", [path for path in PATHS if path != "/metrics"])
def test_a_slash_at_the_end_makes_no_difference(client: httpx.Client, path: str) -> None:
    path = filled(path)
    for method in ("GET", "POST", "PUT"):
        plain = client.request(method, path, content=b"{}", headers={"X-Request-ID": "same"})
        slash = client.request(method, f"{path}/", content=b"{}", headers={"X-Request-ID": "same"})
        assert slash.status_code == plain.status_code
        assert "location" not in slash.headers
        if plain.status_code >= 400:
            assert slash.content == plain.content


@pytest.mark.parametrize("path", ["/v1/models//", "/v1/models/tiny%2F", "/playground/", "/playground", "/docs/assets/"])
def test_other_slashes_do(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("prefix", ["", "/models/longtail"])
def test_the_documentations_address_with_a_slash_leads_to_the_page_behind_any_prefix(
    client: httpx.Client, prefix: str
) -> None:
    answer = client.get("/docs/")
    assert answer.status_code == 308
    reached = httpx.URL(f"https://example.com{prefix}/docs/").join(answer.headers["location"])
    assert str(reached) == f"https://example.com{prefix}/docs"


async def test_a_picture_is_classified_and_a_key_asked_for_with_the_slash(running: Running) -> None:
    key, line = new_key("a", ["predict"])
    async with running(api_keys=line) as service:
        headers = {"Content-Type": "image/png", "X-API-Key": key}
        answers = [
            await service.client.post(f"{CLASSIFY}/", content=picture(1), headers=headers),
            await service.client.post(f"{CLASSIFY}/", content=picture(1), headers={"Content-Type": "image/png"}),
            *[await service.client.get(path) for path in ("/livez/", "/v2/health/ready/", "/docs/", "/metrics/")],
        ]
    assert [answer.status_code for answer in answers] == [200, 401, 200, 200, 308, 401]


async def test_head_needs_the_scope_of_get(running: Running) -> None:
    _, line = new_key("a", ["predict"])
    async with running(api_keys=line) as service:
        answers = [await service.client.head(path) for path in ("/v1/models", "/metrics", "/livez", "/")]
    assert [answer.status_code for answer in answers] == [401, 401, 200, 200]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/", "GET, HEAD"),
        ("POST", "/livez", "GET, HEAD"),
        ("OPTIONS", "/v1/models", "GET, HEAD"),
        ("POST", "/playground/page.js", "GET, HEAD"),
        ("POST", "/openapi.json", "GET, HEAD"),
        ("PATCH", "/v1/models/tiny/operating-points/x", "DELETE, GET, HEAD, PUT"),
        ("HEAD", "/v1/feedback", "POST"),
        ("TRACE", "/metrics", "GET, HEAD"),
        ("GET", "/v2/models/tiny/infer", "POST"),
        ("DELETE", "/v1/models/tiny/", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(client: httpx.Client, method: str, path: str, allow: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


def test_a_wrong_method_is_named_as_it_was_sent(client: httpx.Client, tmp_path: Path) -> None:
    answer = client.request("OPTIONS", "/v1/models/")
    assert answer.json()["error"]["message"] == "OPTIONS /v1/models: method not allowed; see /docs"
