"""A browser sends forms of any page; only this server's own pages may change anything with them."""

import pytest

from tests.service.conftest import Running, picture

pytestmark = pytest.mark.anyio
TUNE = "/v1/models/tiny/alpha/tune"
POINT = "/v1/models/tiny/operating-points/mine"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8001", "Sec-Fetch-Site": "same-site"},
        {"Origin": "http://[", "X-Forwarded-Host": "app.example"},
        {"Origin": ""},
    ],
)
async def test_a_page_of_another_origin_may_change_nothing(running: Running, headers: dict[str, str]) -> None:
    form = {"data": {"save_as": "mine"}, "files": {"archive": b"zip"}, "headers": headers}
    async with running() as service:
        answers = [
            await service.client.post(TUNE, **form),
            await service.client.post("/v1/models/tiny/classify", files={"files": picture(1)}, headers=headers),
            await service.client.put(POINT, json={"alpha": 1}, headers=headers),
            await service.client.delete(POINT, headers=headers),
            await service.client.post("/v1/feedback", json=[], headers=headers),
            await service.client.delete("/v1/jobs/x", headers=headers),
        ]
        read = await service.client.get("/v1/models", headers=headers)
    assert [(a.status_code, a.json()["error"]["code"]) for a in answers] == [(403, "cross_site")] * len(answers)
    assert read.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost"},
        {"Origin": "http://TEST", "Host": "test:80"},
        {"Origin": "https://app.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://app.example", "X-Forwarded-Host": "app.example"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_own_pages_and_clients_other_than_browsers_may_change_things(
    running: Running, headers: dict[str, str]
) -> None:
    async with running() as service:
        answer = await service.client.put(POINT, json={"alpha": 1}, headers=headers)
    assert answer.status_code == 200, answer.text
