"""Errors: every bad request gets the same shape and a message, and never status 500."""

import io
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from models.errors import BundleError, InfeasibleError
from service import errors
from service.model_errors import INTERNAL_ERROR, MODEL_ERRORS
from tests.service.conftest import CLASSIFY, Running, picture

pytestmark = pytest.mark.anyio

# What clients rely on: the HTTP status and the headers of each code.
CONTRACT: dict[str, tuple[int, dict[str, str]]] = {
    "bad_multipart": (400, {}),
    "empty_body": (400, {}),
    "invalid_query": (400, {}),
    "malformed_request": (400, {}),
    "unknown_field": (400, {}),
    "unauthenticated": (401, {"WWW-Authenticate": "Bearer"}),
    "admin_needs_key": (403, {}),
    "cross_site": (403, {}),
    "forbidden": (403, {}),
    "no_curve": (404, {}),
    "unknown_job": (404, {}),
    "unknown_model": (404, {}),
    "unknown_operating_point": (404, {}),
    "unknown_result": (404, {}),
    "unknown_version": (404, {}),
    "too_slow": (408, {}),
    "upload_timeout": (408, {}),
    "job_cancelled": (409, {}),
    "model_load_failed": (409, {}),
    "operating_point_fixed": (409, {}),
    "too_many_operating_points": (409, {}),
    "version_not_served": (409, {}),
    "expired_result": (410, {}),
    "answer_too_large": (413, {}),
    "body_too_large": (413, {}),
    "image_too_large": (413, {}),
    "too_many_files": (413, {}),
    "too_many_labels": (413, {}),
    "unsupported_image": (415, {}),
    "unsupported_media_type": (415, {}),
    "expectation_failed": (417, {}),
    "alpha_invalid": (422, {}),
    "alpha_out_of_range": (422, {}),
    "bad_archive": (422, {}),
    "cannot_tune": (422, {}),
    "exempt_class": (422, {}),
    "infeasible": (422, {}),
    "invalid_request": (422, {}),
    "operating_point_name_invalid": (422, {}),
    "prior_invalid": (422, {}),
    "too_many_alphas": (422, {}),
    "too_many_unreadable": (422, {}),
    "top_k_out_of_range": (422, {}),
    "unknown_label": (422, {}),
    "unreadable_image": (422, {}),
    "head_too_large": (431, {}),
    "client_gone": (499, {"Connection": "close"}),
    "inference_failed": (500, {}),
    "not_supported": (501, {}),
    "job_lost": (503, {}),
    "not_live": (503, {}),
    "not_ready": (503, {}),
    "overloaded": (503, {"Retry-After": "1"}),
    "storage_unavailable": (503, {"Retry-After": "1"}),
    "deadline_exceeded": (504, {}),
    "http_version_not_supported": (505, {}),
}


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
    "no picture as text": (b"alpha=0", "", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
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
async def test_a_refused_request_gets_a_code_and_a_message(
    running: Running, case: tuple[bytes, str, dict[str, str], int, str]
) -> None:
    data, query, headers, status, code = case
    async with running(max_body_mb=1, max_pixels=1_000_000) as service:
        answer = await service.classify(data, query, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert len(error["message"]) > 15
    assert error["request_id"] == answer.headers["X-Request-ID"]


async def test_a_body_without_content_length_is_stopped_at_the_limit(running: Running) -> None:
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
        "too_many_files", "invalid_request", "invalid_request",
    ]  # fmt: skip


@pytest.mark.parametrize("charset", ["utf-7", "undefined", "unicode_escape", "idna", "a\0b", "nonsense"])
async def test_a_form_in_an_unusual_encoding_is_refused(running: Running, charset: str) -> None:
    kind = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
    async with running() as service:
        for path, field in ((CLASSIFY, "files"), ("/v1/models/tiny/alpha/tune", "archive")):
            form = f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="+2AA-\\ud800"\r\n\r\n'.encode()
            content = form + picture(1) + b"\r\n--b--\r\n"
            answer = await service.client.post(path, content=content, headers=kind)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_multipart")
            assert "use utf-8" in answer.json()["error"]["message"]


async def test_a_wrong_method_is_answered_with_the_allowed_ones(running: Running) -> None:
    async with running() as service:
        point = await service.client.post("/v1/models/tiny/operating-points/balanced")
        infer = await service.client.get("/v2/models/tiny/infer")
    assert [(a.status_code, a.headers["Allow"]) for a in (point, infer)] == [
        (405, "DELETE, GET, HEAD, PUT"), (405, "POST"),
    ]  # fmt: skip


async def test_an_unknown_model_is_answered_with_the_known_ones(running: Running) -> None:
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
async def test_a_valid_request_id_is_kept_and_any_other_replaced(running: Running, brought: str, kept: bool) -> None:
    async with running() as service:
        answer = await service.client.get("/livez", headers=[("X-Request-ID", brought.encode())])
    assert (answer.headers["X-Request-ID"] == brought) is kept


def test_every_code_keeps_its_status_and_headers() -> None:
    kinds = {kind.code: (kind.status, dict(kind.headers)) for kind in error_classes()}
    kinds |= {kind.code: (kind.status, {}) for kind in MODEL_ERRORS.values()}
    assert kinds == CONTRACT


def test_no_two_errors_share_a_code() -> None:
    codes = [kind.code for kind in (*error_classes(), *MODEL_ERRORS.values(), INTERNAL_ERROR)]
    assert len(codes) == len(set(codes))


def test_each_branch_of_the_tree_has_its_own_statuses() -> None:
    statuses = {
        errors.ClientError: range(400, 500),
        errors.CapacityError: (503, 504),
        errors.ServerError: (500, 501, 505),
    }
    assert all(kind.status in statuses[kind.__bases__[0]] for kind in error_classes())


def test_a_subclass_of_a_models_error_is_answered_like_its_base() -> None:
    class OtherError(InfeasibleError):
        pass

    assert errors.describe(OtherError("no alpha")) == (422, "infeasible", "no alpha", {})
    assert errors.describe(BundleError("no folder")).code == "internal_error"


def test_an_internal_error_does_not_reveal_the_exception() -> None:
    told = errors.describe(ZeroDivisionError("secret"))
    assert told[:2] == (500, "internal_error")
    assert "secret" not in told.message


def error_classes() -> list[type[errors.ServiceError]]:
    """Return the classes that can be raised, which are all except the root and its three branches."""
    branches = errors.ServiceError.__subclasses__()
    assert branches == [errors.ClientError, errors.CapacityError, errors.ServerError]
    return [kind for branch in branches for kind in branch.__subclasses__() if kind.__module__ == errors.__name__]


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
