"""Access over REST: the scope that each route needs, the routes that a key opens, and the open routes."""

from collections.abc import Iterable
from typing import Any

import pytest

from service.access.authorization import Access, RequiredScope, required_scope
from service.errors import AdminNeedsKeyError
from service.keys import new_key
from service.settings import Settings
from tests.service.conftest import CLASSIFY, Running, picture

pytestmark = pytest.mark.anyio
MODEL = "/v1/models/{model}"
INFERENCE = "/v2/models/{model}"
VERSION = f"{INFERENCE}/versions/{{version}}"
NEEDS: dict[RequiredScope, set[str]] = {
    "open": {
        *("GET /livez", "GET /readyz", "GET /v2/health/live", "GET /v2/health/ready", "GET /", "GET /docs"),
        *("GET /docs/", "GET /openapi.json", "HEAD /openapi.json", "* /playground/{path}", "* /docs/assets/{path}"),
    },
    "any": {"GET /metrics"},
    "predict": {
        *(f"POST {MODEL}/classify", f"POST {MODEL}/alpha-path", f"GET {MODEL}/alpha/curve", f"GET {MODEL}/feedback"),
        *("GET /v1/models", f"GET {MODEL}", f"GET {MODEL}/operating-points", f"GET {MODEL}/operating-points/{{name}}"),
        *("POST /v1/feedback", "GET /v2", "GET /v2/", "GET /v2/models", "GET /v2/models/"),
        *("GET /v2/models/stats", "POST /v2/repository/index"),
        *(f"GET {path}{part}" for path in (INFERENCE, VERSION) for part in ("", "/ready", "/config", "/stats")),
        *(f"POST {path}/infer" for path in (INFERENCE, VERSION)),
        *(f"{method} /v2/{{rest:path}}" for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")),
    },
    "tune": {
        *(f"POST {MODEL}/alpha/tune", f"POST {MODEL}/alpha/tune-on-results"),
        *("GET /v1/jobs/{id}", "DELETE /v1/jobs/{id}"),
        *(f"{method} {MODEL}/operating-points/{{name}}" for method in ("PUT", "DELETE")),
    },
    "admin": {f"POST /v2/repository/models/{{model}}/{what}" for what in ("load", "unload")},
}
KEYS = {
    name: new_key(name, scopes.split(","))
    for name, scopes in {"predict": "predict", "tune": "tune", "admin": "admin", "all": "predict,tune,admin"}.items()
}
ANYWHERE = "0.0.0.0"  # noqa: S104  these tests open no socket there
LINES = ";".join(line for _, line in KEYS.values())


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name][0]}"}


def calls(routes: Iterable[Any]) -> set[str]:
    """Return every method and path of the application, with those of included routers and mounted folders."""
    found: set[str] = set()
    for route in routes:
        if included := getattr(route, "original_router", None):
            found |= calls(included.routes)
        elif methods := getattr(route, "methods", None):
            found |= {f"{method} {route.path}" for method in methods}
        else:
            found.add(f"* {route.path}/{{path}}")
    return found


async def test_every_route_needs_the_scope_in_the_table(running: Running) -> None:
    async with running() as service:
        assert calls(service.app.routes) == set().union(*NEEDS.values())
    for need, known in NEEDS.items():
        for method, path in (call.split(" ") for call in known):
            assert required_scope(method.replace("*", "POST"), path) == need, path


@pytest.mark.parametrize("need", ["predict", "tune", "admin"])
async def test_no_path_ending_that_the_router_ignores_opens_a_route(need: RequiredScope) -> None:
    for method, path in (call.split(" ") for call in NEEDS[need]):
        for ending in ("\n", "/", "//", "/.", "?", "\n\n", "/\n"):
            allowed = {need, "predict"} if "\n" not in ending else {need}
            assert required_scope(method, path + ending) in allowed, path


@pytest.mark.parametrize(
    "path", ["/livez/", "/docs//", "/playground", "/livez\n", "//", "/v3", "/V1/models", "/docs/x", ""]
)
async def test_an_unknown_path_needs_a_key(path: str) -> None:
    assert required_scope("GET", path) == "predict"


def request_of(call: str) -> tuple[str, str]:
    """Return a method and a path with its parameters filled in."""
    method, path = call.split(" ")
    for name, value in {
        "model": "tiny",
        "name": "x",
        "id": "x",
        "version": "1",
        "rest:path": "no",
        "path": "no",
    }.items():
        path = path.replace(f"{{{name}}}", value)
    return method.replace("*", "GET"), path


async def test_without_a_key_only_the_open_routes_answer(running: Running) -> None:
    async with running(api_keys=LINES) as service:
        for need, known in NEEDS.items():
            for call in known:
                answer = await service.client.request(*request_of(call))
                assert (answer.status_code == 401) == (need != "open"), call
                assert answer.headers.get("WWW-Authenticate") == (None if need == "open" else "Bearer")


@pytest.mark.parametrize("name", ["predict", "tune", "admin"])
async def test_a_key_opens_its_scope_and_no_other(running: Running, name: str) -> None:
    async with running(api_keys=LINES) as service:
        for need, known in NEEDS.items():
            for call in known:
                answer = await service.client.request(*request_of(call), headers=bearer(name))
                refused = answer.status_code == 403
                assert refused == (need not in {"open", "any", name}), call
                if refused and answer.content and "/v2" not in call:
                    assert answer.json()["error"]["code"] == "forbidden"
                if refused and answer.content:
                    assert f"the scope {need}" in answer.text


async def test_a_key_is_sent_as_bearer_token_or_as_x_api_key(running: Running) -> None:
    key = KEYS["all"][0]
    good: list[list[tuple[str, str]]] = [
        [("Authorization", f"Bearer {key}")],
        [("authorization", f"bearer {key}")],
        [("Authorization", f"BEARER   {key} ")],
        [("X-API-Key", key)],
        [("X-API-Key", key), ("Authorization", "Basic dTpw")],  # credentials for a proxy
        [("X-API-Key", key), ("Authorization", f"Bearer {key}")],
    ]
    async with running(api_keys=LINES) as service:
        for headers in good:
            answer = await service.client.post(
                CLASSIFY, content=picture(1), headers=[*headers, ("Content-Type", "image/png")]
            )
            assert answer.status_code == 200, headers


HOSTILE: dict[str, list[tuple[bytes, bytes]]] = {
    "empty bearer": [(b"Authorization", b"Bearer")],
    "blank bearer": [(b"Authorization", b"Bearer ")],
    "empty": [(b"Authorization", b"")],
    "another scheme": [(b"Authorization", b"Basic " + KEYS["all"][0].encode())],
    "no scheme": [(b"Authorization", KEYS["all"][0].encode())],
    "two words": [(b"Authorization", b"Bearer " + KEYS["all"][0].encode() + b" x")],
    "not ASCII": [(b"Authorization", "Bearer lt_ключ".encode()), (b"X-API-Key", b"\xff\xfe\x80")],
    "long": [(b"Authorization", b"Bearer " + b"A" * 100_000)],
    "long key": [(b"X-API-Key", b"lt_" + b"A" * 100_000)],
    "two keys": [(b"Authorization", b"Bearer " + KEYS[name][0].encode()) for name in ("all", "predict")],
    "a key and nonsense": [(b"Authorization", b"Bearer " + KEYS["all"][0].encode()), (b"X-API-Key", b"x")],
    "a hash": [(b"X-API-Key", KEYS["all"][1].rpartition("=")[2].encode())],
}


@pytest.mark.parametrize("headers", HOSTILE.values(), ids=HOSTILE)
async def test_every_invalid_key_is_refused_with_the_same_message(
    running: Running, headers: list[tuple[bytes, bytes]]
) -> None:
    async with running(api_keys=LINES) as service:
        without = await service.client.get("/v1/models")
        answer = await service.client.get("/v1/models", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthenticated")
    assert answer.json()["error"]["message"] == without.json()["error"]["message"]


async def test_nothing_of_the_body_is_read_without_a_key(running: Running) -> None:
    async def body() -> Any:
        raise AssertionError("the body was asked for")
        yield b""

    async with running(api_keys=LINES) as service:
        for path in (CLASSIFY, "/v1/models/tiny/alpha/tune", "/v2/models/tiny/infer", "/v1/feedback"):
            assert (await service.client.post(path, content=body())).status_code == 401


async def test_a_cross_site_request_is_refused_before_its_key_is_checked(running: Running) -> None:
    async with running(api_keys=LINES) as service:
        answer = await service.client.post(CLASSIFY, headers={"Origin": "https://evil.example"} | bearer("all"))
    assert answer.json()["error"]["code"] == "cross_site"


async def test_without_keys_everything_is_open_and_admin_only_on_loopback(running: Running) -> None:
    for host, status in (("127.0.0.1", 200), ("127.9.9.9", 200), ("::1", 200), ("localhost", 200), (ANYWHERE, 403)):
        async with running(host=host) as service:
            listed = await service.client.get("/v1/models")
            answers = [await service.client.post(f"/v2/repository/models/tiny/{what}") for what in ("unload", "load")]
        assert [listed.status_code, *(answer.status_code for answer in answers)] == [200, status, status], host
    assert "configure one (--api-keys-file), or bind the server to loopback" in answers[0].json()["error"]


@pytest.mark.parametrize(
    "host", [ANYWHERE, "::", "10.0.0.7", "127.0.0.1.example", "localhost.example", "", "128.0.0.1"]
)
async def test_no_other_host_counts_as_loopback(host: str) -> None:
    with pytest.raises(AdminNeedsKeyError):
        Access(Settings(host=host)).check("admin", ())


async def test_with_keys_loopback_gives_no_access(running: Running) -> None:
    async with running(api_keys=LINES, host="127.0.0.1") as service:
        answer = await service.client.post("/v2/repository/models/tiny/unload")
        done = await service.client.post("/v2/repository/models/tiny/unload", headers=bearer("admin"))
    assert (answer.status_code, done.status_code) == (401, 200)


async def test_openapi_says_which_scope_each_operation_needs(running: Running) -> None:
    async with running() as service:
        schema = (await service.client.get("/openapi.json")).json()
    schemes = schema["components"]["securitySchemes"].values()
    assert [(each["type"], each.get("name")) for each in schemes] == [("http", None), ("apiKey", "X-API-Key")]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            need = next(need for need, known in NEEDS.items() if f"{method.upper()} {path}" in known)
            wanted = [] if need == "open" else [{"bearer": []}, {"header": []}]
            assert operation["security"] == wanted
            assert operation.get("x-required-scope", "open") == need
            assert ("401" in operation["responses"]) == (need != "open")
            assert ("403" in operation["responses"]) == (need in {"predict", "tune", "admin"})


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 404),
        ("localhost", 404),
        ("[::1]:8000", 404),
        ("rebound.example:8000", 403),
        ("127.0.0.1.example", 403),
        ("localhost.example:80", 403),
        ("", 403),
        ("[::1", 404),
        ("[", 403),
    ],
)
async def test_without_keys_admin_requests_must_name_a_loopback_host(running: Running, host: str, status: int) -> None:
    async with running() as service:
        answer = await service.client.post("/v2/repository/models/nothing/unload", headers={"Host": host})
        other = await service.client.get("/v1/models", headers={"Host": host})
    assert (answer.status_code, other.status_code) == (status, 200)
