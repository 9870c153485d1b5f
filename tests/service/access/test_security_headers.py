"""Every answer has security headers for browsers, and each page a strict content security policy."""

import re
from pathlib import Path

import httpx
import pytest

from tests.service.conftest import Running, picture

pytestmark = pytest.mark.anyio
SWAGGER = Path(__file__).parents[3] / "service" / "swagger"
PAGES = (
    "/",
    "/docs",
    "/playground/page.js",
    "/playground/icon.svg",
    "/docs/assets/start.js",
    "/docs/assets/swagger-ui.css",
)
CLOSED = "default-src 'none'; frame-ancestors 'none'"


def only(answer: httpx.Response, name: str) -> str:
    """Return the value of a header that must occur exactly once."""
    (value,) = answer.headers.get_list(name)
    return value


async def answers_of(running: Running) -> list[httpx.Response]:
    """Return one answer of each kind: direct and other routes, errors of every layer, metrics, probes."""
    png = {"Content-Type": "image/png"}
    json = {"Content-Type": "application/json"}
    async with running(max_body_mb=0.1) as service:
        client = service.client
        service.app.add_route("/broken", lambda _: 1 // 0)
        return [
            await client.post("/v1/models/tiny/classify", content=picture(1), headers=png),
            await client.post("/v1/models/tiny/classify", content=b"broken", headers=png),
            await client.post("/v1/models/tiny/classify", headers=png | {"Origin": "https://evil.example"}),
            await client.post("/v2/models/tiny/infer", content=bytes(200_000)),
            await client.put("/v1/models/tiny/operating-points/x", content=b"{", headers=json),
            *[await client.get(path) for path in ("/v1/models", "/v2", "/metrics", "/livez", "/openapi.json", "/no")],
            await client.get("/broken"),
            await client.delete("/v1/models"),
            await client.get("/playground/nothing.js"),
            await client.get("/docs/assets/nothing.js"),
        ]


async def test_every_answer_has_the_security_headers(running: Running) -> None:
    answers = await answers_of(running)
    assert {answer.status_code for answer in answers} >= {200, 403, 404, 405, 413, 422, 500}
    for answer in answers:
        assert only(answer, "Content-Security-Policy") == CLOSED
        assert only(answer, "Cache-Control") == "no-store"
        assert only(answer, "X-Content-Type-Options") == "nosniff"
        assert only(answer, "Referrer-Policy") == "no-referrer"
        assert only(answer, "Cross-Origin-Resource-Policy") == "same-origin"
        assert re.fullmatch("[0-9a-f]{32}", only(answer, "X-Request-ID"))


async def test_pages_have_a_strict_policy_and_may_be_cached(running: Running) -> None:
    async with running() as service:
        answers = [await service.client.get(path) for path in PAGES]
        again = [
            await service.client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
            for path, answer in zip(PAGES, answers, strict=True)
        ]
    assert [answer.status_code for answer in answers + again] == [200] * len(PAGES) + [304] * len(PAGES)
    for answer in answers + again:
        policy = only(answer, "Content-Security-Policy")
        assert policy.startswith(("default-src 'self'; ", "default-src 'none'; script-src 'self'; "))
        assert "unsafe" not in policy
        assert "*" not in policy
        assert "frame-ancestors 'none'" in policy
        assert only(answer, "Cache-Control") in {"no-cache", "max-age=86400"}
        assert only(answer, "X-Content-Type-Options") == "nosniff"
        assert only(answer, "Cross-Origin-Resource-Policy") == "same-origin"


async def test_the_documentation_page_has_no_inline_script_or_style(running: Running) -> None:
    page = (SWAGGER / "index.html").read_text()
    async with running() as service:
        assert (await service.client.get("/docs")).text == page
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script[^>]*>[^<]", page)
    assert len(re.findall("<script[^>]* src=", page)) == 2


async def test_an_unauthenticated_answer_is_never_cached(running: Running) -> None:
    async with running(api_keys=f"web:predict:sha256={'0' * 64}") as service:
        answer = await service.client.get("/v1/models")
    assert (answer.status_code, only(answer, "Cache-Control")) == (401, "no-store")
    assert only(answer, "Content-Security-Policy") == CLOSED
