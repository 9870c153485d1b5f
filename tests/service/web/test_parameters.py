"""A parameter counts wherever a request gives it; an unknown one, and one that is given twice, is refused."""

import gzip
import json
from typing import Any

import httpx
import pytest

from models.bundle import save_bundle
from tests.service.conftest import CLASSIFY, Running, Service, picture
from tests.service.tuning.test_tune import TUNE, labelled, labelled_traffic, zipped
from tests.tiny_bundle import TinyModel, write_tiny_bundle

pytestmark = pytest.mark.anyio
PATH = "/v1/models/tiny/alpha-path"
POINT = "/v1/models/tiny/operating-points/night"
FILE = ("files", ("a.png", picture(1)))
WEIGHTS = json.dumps({f"class {index}": weight for index, weight in enumerate((1, 1, 1, 5, 20))})


def text(name: str, value: str) -> tuple[str, tuple[None, str]]:
    """A field of a form that is not a file, for httpx's `files`."""
    return name, (None, value)


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


def answers_of(answer: httpx.Response) -> Any:
    """What an answer says of its pictures, without ids and names."""
    assert answer.status_code == 200, answer.text
    return [(each.get("predictions"), each.get("path")) for each in answer.json()["results"]]


SAME = {
    "alpha": (CLASSIFY, "?alpha=0", [text("alpha", "0")]),
    "several alphas": (CLASSIFY, "?alpha=0&alpha=tail&alpha=0.5", [text("alpha", a) for a in ("0", "tail", "0.5")]),
    "top_k": (CLASSIFY, "?top_k=2", [text("top_k", "2")]),
    "a prior": (CLASSIFY, "?prior=uniform", [text("prior", "uniform")]),
    "weights": (CLASSIFY, f"?alpha=0&prior={WEIGHTS}", [text("prior", WEIGHTS), text("alpha", "0")]),
    "a version": (CLASSIFY, "?version=1", [text("version", "1")]),
    "a deadline": (CLASSIFY, "?timeout_ms=60000", [text("timeout_ms", "60000")]),
    "all": (
        CLASSIFY,
        "?alpha=2&top_k=1&prior=uniform",
        [text("alpha", "2"), text("top_k", "1"), text("prior", "uniform")],
    ),
    "a path's ends": (PATH, "?from=-1&to=2.5", [text("from", "-1"), text("to", "2.5")]),
    "a path's prior": (PATH, f"?prior={WEIGHTS}", [text("prior", WEIGHTS)]),
}


@pytest.mark.parametrize("case", SAME.values(), ids=SAME)
async def test_a_form_s_fields_say_what_the_query_says(running: Running, case: tuple[str, str, list[Any]]) -> None:
    address, query, fields = case
    async with running(real=True) as service:
        expected = answers_of(await service.client.post(address + query, files=[FILE]))
        default = answers_of(await service.client.post(address, files=[FILE]))
        before = answers_of(await service.client.post(address, files=[*fields, FILE]))
        after = answers_of(await service.client.post(address, files=[FILE, *fields]))
    assert before == after == expected
    assert (expected != default) == (query not in {"?version=1", "?timeout_ms=60000"})


async def test_a_parameter_of_a_form_may_be_a_file(running: Running) -> None:
    async with running(real=True) as service:
        expected = answers_of(await service.client.post(f"{CLASSIFY}?prior={WEIGHTS}", files=[FILE]))
        answer = await service.client.post(CLASSIFY, files=[FILE, ("prior", ("weights.json", WEIGHTS.encode()))])
    assert answers_of(answer) == expected


async def test_the_version_in_a_form_chooses_the_network(running: Running, tmp_path: Any) -> None:
    for version in (1, 2):
        write_tiny_bundle(tmp_path, version=version, seed=version)
    async with running(real=True, models=tmp_path, serve_versions=2) as service:
        expected = await service.client.post(f"{CLASSIFY}?version=1&alpha=0", files=[FILE])
        answer = await service.client.post(CLASSIFY, files=[FILE, text("version", "1"), text("alpha", "0")])
        unknown = await service.client.post(CLASSIFY, files=[FILE, text("version", "9")])
    assert answer.json()["version"] == expected.json()["version"] == 1
    assert answers_of(answer) == answers_of(expected)
    assert error_of(unknown)[:2] == (404, "unknown_version")


async def test_of_a_form_s_deadline_and_the_header_s_the_earlier_counts(running: Running) -> None:
    async with running(inference_threads=1) as service:
        engine = service.engines["tiny"]
        engine.gate.clear()
        form = await service.client.post(CLASSIFY, files=[FILE, text("timeout_ms", "1")])
        header = {"X-Request-Timeout": "0.001"}
        both = await service.client.post(CLASSIFY, files=[FILE, text("timeout_ms", "60000")], headers=header)
        headers = [("X-Request-Timeout", "60"), ("X-Request-Timeout", "0.001")]  # a proxy's, and the client's
        two = await service.client.post(CLASSIFY, files=[FILE], headers=headers)
        engine.gate.set()
        wrong = await service.client.post(CLASSIFY, files=[FILE, text("timeout_ms", "0")])
    assert error_of(form)[:2] == error_of(both)[:2] == error_of(two)[:2] == (504, "deadline_exceeded")
    assert "within 1 ms" in error_of(form)[2]
    assert error_of(wrong)[:2] == (422, "invalid_request")


REFUSED_FORMS = {
    "a word": ("", [text("alpha", "banana")], "alpha_invalid", "'banana' is neither"),
    "a letter": ("", [text("top_k", "x")], "invalid_request", "top_k must be a whole number, not 'x'"),
    "an underscore": ("", [text("top_k", "1_0")], "invalid_request", "top_k must be a number, not '1_0'"),
    "too many classes": ("", [text("top_k", "9")], "top_k_out_of_range", "9"),
    "a misspelling": ("", [text("alhpa", "0")], "invalid_request", "'alhpa' in the form; did you mean 'alpha'?"),
    "a list as PHP writes it": ("", [text("alpha[]", "0")], "invalid_request", "did you mean 'alpha'?"),
    "capitals": ("", [text("TOP_K", "1")], "invalid_request", "did you mean 'top_k'?"),
    "nothing like it": ("", [text("zzz", "1")], "invalid_request", "'zzz' in the form; known: version, alpha, top_k"),
    "twice": ("", [text("top_k", "1"), text("top_k", "2")], "invalid_request", "'top_k' is given 2 times in the form"),
    "in both": ("?alpha=1", [text("alpha", "1")], "invalid_request", "'alpha' is given in the query and in the form"),
    "a picture elsewhere": ("", [("image", ("b.png", picture(2)))], "invalid_request", "send files in the field"),
    "the path's model": ("", [text("model", "other")], "invalid_request", "parameter 'model' is in the path"),
    "no weights": ("", [text("prior", '{"class 0": 1, "class 0": 2}')], "prior_invalid", "the key 'class 0' twice"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_FORMS.values(), ids=REFUSED_FORMS)
async def test_a_field_that_cannot_be_used_is_refused(running: Running, case: tuple[str, list[Any], str, str]) -> None:
    query, fields, code, message = case
    async with running() as service:
        for files in ([*fields, FILE], [FILE, *fields]):
            status, found, said = error_of(await service.client.post(CLASSIFY + query, files=files))
            assert (status, found) == (422, code)
            assert message in said


REFUSED_QUERIES = {
    "classify": ("POST", f"{CLASSIFY}?alpah=0", "did you mean 'alpha'?"),
    "classify twice": ("POST", f"{CLASSIFY}?top_k=1&top_k=2", "'top_k' is given 2 times in the query"),
    "classify, no UTF-8": ("POST", f"{CLASSIFY}?prior=%FF", "the query string is not UTF-8"),
    "path": ("POST", f"{PATH}?form=0", "did you mean 'from'?"),
    "path, alpha": ("POST", f"{PATH}?alpha=0", "unknown parameter 'alpha' in the query"),
    "curve": ("GET", "/v1/models/tiny/alpha/curve?sorce=feedback", "did you mean 'source'?"),
    "curve, a bound": ("GET", "/v1/models/tiny/alpha/curve?points=1", "points: input should be greater than or equal"),
    "curve, a choice": ("GET", "/v1/models/tiny/alpha/curve?source=all", "source: input should be 'bundle' or"),
    "curve of the bundle": (
        "GET",
        "/v1/models/tiny/alpha/curve?since=5",
        "since: does not apply to the bundle's curve",
    ),
    "curve of the bundle, a bound": (
        "GET",
        "/v1/models/tiny/alpha/curve?low=-2",
        "low: does not apply to the bundle's",
    ),
    "curve twice": ("GET", "/v1/models/tiny/alpha/curve?low=1&low=2", "'low' is given 2 times"),
    "tune": ("POST", f"{TUNE}?objectiv=many", "did you mean 'objective'?"),
    "tune, a list": ("POST", f"{TUNE}?constraints=many", "did you mean 'constraint'?"),
    "models": (
        "GET",
        "/v1/models?version=1",
        "unknown parameter 'version' in the query; this request takes none there",
    ),
    "a model": ("GET", "/v1/models/tiny?versoin=1", "did you mean 'version'?"),
    "points": ("GET", "/v1/models/tiny/operating-points?_=1", "unknown parameter '_'"),
    "a point": ("GET", f"{POINT}?name=x", "parameter 'name' is in the path"),
    "set a point": ("PUT", f"{POINT}?alfa=1", "did you mean 'alpha'?"),
    "remove a point": ("DELETE", f"{POINT}?wo=ada", "did you mean 'who'?"),
    "remove a point, twice": ("DELETE", f"{POINT}?who=ada&who=bob", "'who' is given 2 times"),
    "feedback": ("GET", "/v1/models/tiny/feedback?lats=5", "did you mean 'last'?"),
    "labels": ("POST", "/v1/feedback?label=cat", "unknown parameter 'label' in the query"),
    "a job": ("GET", f"/v1/jobs/{'0' * 32}?wait=1", "unknown parameter 'wait'"),
    "cancel a job": ("DELETE", f"/v1/jobs/{'0' * 32}?force=true", "unknown parameter 'force'"),
}


@pytest.mark.parametrize("case", REFUSED_QUERIES.values(), ids=REFUSED_QUERIES)
async def test_every_route_refuses_what_its_query_should_not_have(running: Running, case: tuple[str, str, str]) -> None:
    method, address, message = case
    async with running() as service:
        status, code, said = error_of(await service.client.request(method, address))
    assert (status, code) == (422, "invalid_request")
    assert message in said


@pytest.mark.parametrize(
    "address",
    [
        "/v2", "/v2/", "/v2/models/stats", "/v2/models/tiny", "/v2/models/tiny/versions/1", "/v2/models/tiny/ready",
        "/v2/models/tiny/config", "/v2/models/tiny/stats",
    ],
)  # fmt: skip
async def test_the_protocol_s_routes_have_no_query(running: Running, address: str) -> None:
    async with running() as service:
        assert (await service.client.get(address)).status_code == 200
        answer = await service.client.get(f"{address}?version=1")
        infer = await service.client.post("/v2/models/tiny/infer?alpha=0", json={})
        index = await service.client.post("/v2/repository/index?ready=true")
    for refused in (answer, infer, index):
        assert refused.status_code == 400
        assert refused.json()["error"].startswith("unknown parameter ")


@pytest.mark.parametrize(
    "address", ["/livez", "/readyz", "/metrics", "/", "/docs", "/v2/health/live", "/v2/health/ready"]
)
async def test_probes_metrics_and_pages_take_any_query(running: Running, address: str) -> None:
    async with running() as service:
        assert (await service.client.get(f"{address}?x=1&x=2")).status_code == 200


async def tuned(service: Service, query: str, fields: list[Any], **options: Any) -> httpx.Response:
    files = [("archive", ("a.zip", zipped(labelled()))), *fields] if fields or "json" not in options else None
    return await service.client.post(TUNE + query, files=files, **options)


async def test_tuning_reads_query_and_form_alike(running: Running) -> None:
    fields = {"objective": "many", "low": "-1", "high": "0.5", "constraint": "few >= 0", "wait": "30"}
    query = "?" + "&".join(f"{name}={value}" for name, value in fields.items())
    async with running(real=True) as service:
        in_form = (await tuned(service, "", [text(*field) for field in fields.items()])).json()
        in_query = (await tuned(service, query, [])).json()
        twice = await tuned(service, "?objective=many", [text("objective", "many")])
        others = [await tuned(service, "", [field]) for field in (text("since", "5"), text("source", "feedback"))]
    assert in_form == in_query
    assert (in_form["objective"], in_form["constraints"]) == ("many", ["few >= 0"])
    assert in_form["interval"][1] <= 0.5
    for refused in (twice, *others):
        assert error_of(refused)[:2] == (422, "invalid_request")


async def test_tuning_on_feedback_reads_query_form_and_json_alike(running: Running) -> None:
    fields = {"source": "feedback", "objective": "overall", "high": "3", "constraint": "many >= 0", "wait": "30"}
    body = {"source": "feedback", "objective": "overall", "high": 3, "constraints": ["many >= 0"], "wait": 30}
    part = {name: value for name, value in body.items() if name not in {"high", "wait"}}
    async with running(real=True) as service:
        await labelled_traffic(service)
        reports = [
            (await service.client.post(TUNE, json=body)).json(),
            (await service.client.post(TUNE, params=fields)).json(),
            (await service.client.post(TUNE, data=fields)).json(),
            (await service.client.post(TUNE, files=[text(*field) for field in fields.items()])).json(),
            (await service.client.post(f"{TUNE}?high=3&wait=30", json=part)).json(),
        ]  # fmt: skip
        both = await service.client.post(f"{TUNE}?constraint=few", json=body)
    assert (reports[0]["objective"], reports[0]["images"]) == ("overall", 40)
    assert all(report == reports[0] for report in reports)
    assert "'constraint' is given in the query and in the JSON body" in error_of(both)[2]


@pytest.mark.parametrize("address", [TUNE, POINT])
@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded", "text/plain", "application/zip"])
async def test_json_under_another_type_is_refused_with_what_would_work(
    running: Running, address: str, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    async with running() as service:
        method = "POST" if address == TUNE else "PUT"
        answer = await service.client.request(method, address, content=b'{"source": "feedback"}', headers=headers)
    status, code, message = error_of(answer)
    assert (status, code) == (415, "unsupported_media_type")
    assert message.endswith("send application/json or multipart/form-data")


async def test_a_target_s_weights_may_stand_in_query_form_and_json(running: Running) -> None:
    weights = {f"class {c}": 1.0 + c for c in range(5)}
    order = {"source": "traffic", "wait": "30"}
    async with running(real=True) as service:
        await labelled_traffic(service)
        service.app.state.context.results.flush()
        reports = [
            (await service.client.post(f"{TUNE}?wait=30", json={"source": "traffic", "target": weights})).json(),
            (await service.client.post(TUNE, params=order | {"target": json.dumps(weights)})).json(),
            (await service.client.post(TUNE, data=order | {"target": json.dumps(weights)})).json(),
        ]
    assert reports[0]["target"]["class 4"] == pytest.approx(5 / 15)
    assert reports[1] == reports[2] == reports[0]


@pytest.mark.parametrize(
    ("fields", "name"),
    [([text("constraint", "few >= 0")] * 9, "constraint: "), ([text("constraints", "few >= 0")], "")],
)
async def test_a_form_s_errors_name_its_own_fields(running: Running, fields: list[Any], name: str) -> None:
    async with running() as service:
        status, code, message = error_of(await tuned(service, "", fields))
    assert (status, code) == (422, "invalid_request")
    assert message.startswith(name)
    assert name or "did you mean 'constraint'? known: source, objective, constraint" in message


WHO = {"who": "ada", "why": "more"}
PLACES: dict[str, Any] = {
    "JSON": lambda fields: {"json": fields},
    "the query": lambda fields: {"params": fields},
    "JSON and the query": lambda fields: {"params": {"why": fields.pop("why")}, "json": fields},
    "a form": lambda fields: {"data": fields},
    "a multipart form": lambda fields: {"files": [text(name, str(value)) for name, value in fields.items()]},
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
async def test_a_point_is_set_and_removed_with_parameters_in_any_place(running: Running, place: Any) -> None:
    async with running() as service:
        placed = await service.client.request("PUT", POINT, **place({"alpha": 1.25, **WHO}))
        removed = await service.client.request("DELETE", POINT, **place({**WHO}))
        history = (await service.client.get(POINT)).json()["history"]
    assert (placed.status_code, removed.status_code) == (200, 200)
    assert [(each["alpha"], each["who"], each["why"]) for each in history] == [
        (None, "ada", "more"), (1.25, "ada", "more"),
    ]  # fmt: skip


JSON_TYPE = {"Content-Type": "application/json"}
REFUSED_BODIES: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "in both": ("PUT", f"{POINT}?alpha=1", {"json": {"alpha": 1}}, "in the query and in the JSON body"),
    "twice": ("PUT", POINT, {"content": b'{"alpha": 1, "alpha": 2}', "headers": JSON_TYPE}, "the key 'alpha' twice"),
    "a misspelling": ("PUT", POINT, {"json": {"alpha": 1, "chosenby": "x"}}, "did you mean 'chosen_by'?"),
    "nothing": ("PUT", POINT, {}, "alpha is missing; give it in the JSON body or in the query"),
    "a truth": ("PUT", POINT, {"json": {"alpha": True}}, "alpha: true is neither text nor a number"),
    "a text for a number": ("PUT", POINT, {"json": {"alpha": "1"}}, "alpha must be a number, not '1'"),
    "to remove": ("DELETE", POINT, {"json": {"alpha": 1}}, "unknown parameter 'alpha' in the JSON body"),
    "to read": ("GET", POINT, {"json": {"alpha": 1}}, "unknown parameter 'alpha' in the JSON body"),
    "to list": ("GET", "/v1/models", {"data": {"version": "1"}}, "unknown parameter 'version' in the form"),
    "a curve": ("GET", "/v1/models/tiny/alpha/curve", {"json": {"source": "all"}}, "source: input should be"),
    "to cancel": ("DELETE", f"/v1/jobs/{'0' * 32}", {"json": {"force": 1}}, "unknown parameter 'force'"),
    "to tune": ("POST", TUNE, {"json": {"source": "feedback", "constraint": []}}, "did you mean 'constraints'?"),
    "a null": ("PUT", POINT, {"json": {"alpha": None}}, "alpha must be a number, not null"),
    "a word": ("POST", TUNE, {"json": {"source": "traffic", "target": "even"}}, "target: input should be 'uniform',"),
    "a weight": ("POST", TUNE, {"json": {"source": "traffic", "target": {"cat": "x"}}}, "target.cat must be a number"),
    "labels": ("POST", "/v1/feedback", {"content": b'{"label":1,"label":2}', "headers": JSON_TYPE}, "'label' twice"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_BODIES.values(), ids=REFUSED_BODIES)
async def test_every_body_is_checked(running: Running, case: tuple[str, str, dict[str, Any], str]) -> None:
    method, address, body, message = case
    async with running() as service:
        status, code, said = error_of(await service.client.request(method, address, **body))
    assert (status, code) == (422, "invalid_request")
    assert message in said


@pytest.mark.parametrize(
    ("method", "address", "content_type"),
    [
        ("PUT", POINT, "application/json"), ("POST", "/v1/feedback", "application/json"),
        ("POST", CLASSIFY, "image/png"), ("POST", PATH, ""), ("POST", CLASSIFY, "multipart/form-data; boundary=b"),
        ("POST", TUNE, "multipart/form-data; boundary=b"), ("GET", POINT, "application/json"),
    ],
)  # fmt: skip
async def test_a_compressed_body_is_refused_as_such(
    running: Running, method: str, address: str, content_type: str
) -> None:
    headers = {"Content-Type": content_type, "Content-Encoding": "gzip"}
    async with running() as service:
        answer = await service.client.request(method, address, content=gzip.compress(b"{}"), headers=headers)
        marked = await service.client.post(CLASSIFY, content=picture(1), headers={"Content-Encoding": "gzip"})
    message = "the body is compressed, with content encoding 'gzip'; send it uncompressed"
    assert error_of(answer) == (415, "unsupported_media_type", message)
    assert marked.status_code == 200  # the bytes decide


async def test_a_prior_for_thousands_of_classes_fits_in_a_form(running: Running, tmp_path: Any) -> None:
    model = TinyModel(3000)
    files = {"model_onnx": model.onnx().SerializeToString(), "readme": "# tiny\n"}
    arrays = {"class_effect": model.class_effect, "mean_feature": model.mean_feature, "class_counts": model.counts}
    save_bundle(tmp_path / "tiny" / "1", model.manifest(), **files, **arrays)
    prior = json.dumps({f"class {index}": 1 for index in range(3000)})
    async with running(models=tmp_path, real=True) as service:
        expected = answers_of(await service.client.post(f"{CLASSIFY}?prior=uniform", files=[FILE]))
        answer = answers_of(await service.client.post(CLASSIFY, files=[FILE, text("prior", prior)]))
    assert len(prior) > 40_000
    assert answer == expected


async def test_a_field_may_be_as_long_as_a_json_body(running: Running) -> None:
    async with running(max_json_mb=0.01) as service:
        fits = await service.client.post(CLASSIFY, files=[FILE, text("prior", "x" * 10_000)])
        large = await service.client.post(CLASSIFY, files=[FILE, text("prior", "x" * 10_001)])
    assert error_of(fits)[:2] == (422, "prior_invalid")
    assert error_of(large)[:2] == (413, "body_too_large")
    assert "'prior' exceeds 0.01 MB" in error_of(large)[2]


@pytest.mark.parametrize(
    "content_type",
    [
        None, "", "text/plain", "application/octet-stream", "application/x-www-form-urlencoded", "image/jpg", "image/*",
        "application/json", "multipart/mixed; boundary=x", "binary/octet-stream", "IMAGE/PNG; q=1",
    ],
)  # fmt: skip
async def test_the_bytes_decide_what_a_body_is(running: Running, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    async with running(real=True) as service:
        expected = answers_of(await service.classify(picture(1)))
        for address in (CLASSIFY, PATH):
            answer = await service.client.post(address, content=picture(1), headers=headers)
            assert answer.status_code == 200
        assert answers_of(await service.client.post(CLASSIFY, content=picture(1), headers=headers)) == expected
        words = await service.client.post(CLASSIFY, content=b"alpha=0", headers=headers)
        other = await service.client.post(CLASSIFY, content=b"GIF89a" + bytes(20), headers=headers)
        nothing = await service.client.post(CLASSIFY, content=b"", headers=headers)
    as_picture = (content_type or "").lower().startswith("image/")
    assert error_of(words)[:2] == ((422, "unreadable_image") if as_picture else (415, "unsupported_media_type"))
    assert "as multipart/form-data in the field 'files'" in error_of(words)[2] or as_picture
    assert error_of(other)[:2] == (415, "unsupported_image")
    assert error_of(nothing)[:2] == (400, "empty_body")
