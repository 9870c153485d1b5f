"""Whatever a client sends: one shape, a sentence, never a 500."""

import inspect
import io
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from service import errors
from tests.service.conftest import CLASSIFY, Running, picture

pytestmark = pytest.mark.anyio


def big_png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (3000, 3000)).save(file, "PNG")
    return file.getvalue()


REFUSED = {
    "not an image": (b"hello", "", {}, 422, "unreadable_image"),
    "truncated": (picture(1)[:120], "", {}, 422, "unreadable_image"),
    "0 bytes": (b"", "", {}, 400, "empty_body"),
    "another format": (b"GIF89a" + bytes(20), "", {}, 415, "unsupported_image"),
    "too many pixels": (big_png(), "", {}, 413, "image_too_large"),
    "too many bytes": (bytes(1_000_001), "", {}, 413, "body_too_large"),
    "no content type": (picture(1), "", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
    "alpha nan": (picture(1), "?alpha=nan", {}, 422, "alpha_invalid"),
    "alpha inf": (picture(1), "?alpha=-inf", {}, 422, "alpha_invalid"),
    "alpha text": (picture(1), "?alpha=lots", {}, 422, "alpha_invalid"),
    "alpha underscore": (picture(1), "?alpha=1_0", {}, 422, "alpha_invalid"),
    "alpha empty": (picture(1), "?alpha=", {}, 422, "alpha_invalid"),
    "alpha huge": (picture(1), "?alpha=1e5", {}, 422, "alpha_out_of_range"),
    "many alphas": (picture(1), "?" + "&".join(["alpha=1"] * 129), {}, 422, "too_many_alphas"),
    "top_k 0": (picture(1), "?top_k=0", {}, 422, "top_k_out_of_range"),
    "top_k huge": (picture(1), "?top_k=99999999999", {}, 422, "top_k_out_of_range"),
    "top_k text": (picture(1), "?top_k=x", {}, 422, "invalid_request"),
    "no boundary": (b"x", "", {"Content-Type": "multipart/form-data"}, 400, "bad_multipart"),
    "broken form": (b"x", "", {"Content-Type": "multipart/form-data; boundary=b"}, 400, "bad_multipart"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_answered_gets_a_sentence(
    running: Running, case: tuple[bytes, str, dict[str, str], int, str]
) -> None:
    data, query, headers, status, code = case
    async with running(max_body_mb=1, max_pixels=1_000_000) as service:
        answer = await service.classify(data, query, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert len(error["message"]) > 15
    assert error["request_id"] == answer.headers["X-Request-ID"]


async def test_a_body_that_hides_its_size_is_stopped_while_it_arrives(running: Running) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 10_000
            yield bytes(10_000)

    async with running(max_body_mb=0.1) as service:
        answer = await service.client.post(CLASSIFY, content=body(), headers={"Content-Type": "image/png"})
    assert answer.json()["error"]["code"] == "body_too_large"
    assert sent <= 130_000


async def test_too_many_files_and_forms_without_files_are_refused(running: Running) -> None:
    async with running(max_files=2) as service:
        many = await service.client.post(CLASSIFY, files=[("files", ("a", picture(1)))] * 3)
        other = await service.client.post(CLASSIFY, files=[("images", ("a", picture(1)))])
        text = await service.client.post(CLASSIFY, data={"files": "text"}, files=[("x", ("a", b"x"))])
    assert [answer.json()["error"]["code"] for answer in (many, other, text)] == [
        "too_many_files", "bad_multipart", "bad_multipart",
    ]  # fmt: skip


@pytest.mark.parametrize("charset", ["utf-7", "undefined", "unicode_escape", "idna", "a\0b", "nonsense"])
async def test_a_form_in_an_encoding_nobody_uses_is_refused(running: Running, charset: str) -> None:
    kind = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
    async with running() as service:
        for path, field in ((CLASSIFY, "files"), ("/v1/models/tiny/alpha/tune", "archive")):
            form = f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="+2AA-\\ud800"\r\n\r\n'.encode()
            content = form + picture(1) + b"\r\n--b--\r\n"
            answer = await service.client.post(path, content=content, headers=kind)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_multipart")
            assert "send them as utf-8" in answer.json()["error"]["message"]


async def test_a_method_that_is_not_there_is_told_all_that_are(running: Running) -> None:
    async with running() as service:
        point = await service.client.post("/v1/models/tiny/operating-points/balanced")
        infer = await service.client.get("/v2/models/tiny/infer")
    assert [(a.status_code, a.headers["Allow"]) for a in (point, infer)] == [(405, "DELETE, GET, PUT"), (405, "POST")]


async def test_an_unknown_model_is_told_which_there_are(running: Running) -> None:
    async with running() as service:
        answer = await service.client.post("/v1/models/nope/classify", content=picture(1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_model")
    assert "there are: tiny" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nope", 404), ("DELETE", "/v1/models", 405), ("GET", CLASSIFY, 405)]
)
async def test_unknown_paths_and_methods_have_the_same_shape(
    running: Running, method: str, path: str, status: int
) -> None:
    async with running() as service:
        answer = await service.client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"code", "message", "request_id"}


async def test_an_unexpected_error_tells_the_client_an_id_and_nothing_else(running: Running) -> None:
    async with running() as service:
        object.__setattr__(service.app.state.context, "registry", None)
        answer = await service.client.get("/v1/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "NoneType" not in answer.text


@pytest.mark.parametrize(
    ("brought", "kept"), [("abc-1.2_3", True), ("a" * 65, False), ("with space", False), ("ü", False)]
)
async def test_a_sane_request_id_is_kept_and_a_hostile_one_replaced(running: Running, brought: str, kept: bool) -> None:
    async with running() as service:
        answer = await service.client.get("/livez", headers=[("X-Request-ID", brought.encode())])
    assert (answer.headers["X-Request-ID"] == brought) is kept


def test_every_error_has_its_row_in_the_table() -> None:
    kinds = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ServiceError)}
    assert kinds - {errors.ServiceError} <= errors.ERRORS.keys()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: picture(1)[:90] + tail),
    query=st.text(st.sampled_from("alph=&top_k%0129.-+einf"), max_size=40),
    content_type=st.sampled_from(["image/png", "image/webp", "multipart/form-data; boundary=x", "x/y", ""]),
)
async def test_no_bad_input_is_a_500(running: Running, data: bytes, query: str, content_type: str) -> None:
    async with running() as service:
        answer = await service.client.post(f"{CLASSIFY}?{query}", content=data, headers={"Content-Type": content_type})
    assert answer.status_code < 500
    assert "error" in answer.json() or "results" in answer.json()
