"""Every bad request to /v2 gets {"error": message}, never a 500, and never more work than the limits allow."""

import asyncio
import gzip
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InferenceError, TooManyFilesError
from service.openinference.tensors import from_binary
from tests.service.conftest import Running
from tests.service.openinference.serving import HEADER, INFER, as_json, body, files, pictures, png, serving

ONE = pictures(1)
IMAGES = as_json(ONE)
ENCODED = {"name": "encoded", "datatype": "BYTES", "shape": [1]}
ALPHA = {"name": "alpha", "datatype": "FP32", "shape": [1], "data": [1.0]}
PROBABILITIES = {"name": "probabilities"}


def test_millions_of_empty_elements_are_refused_before_they_are_split() -> None:
    with pytest.raises(TooManyFilesError, match="has 4000000 elements; send at most 65536 in one request"):
        from_binary("encoded", "BYTES", (4_000_000, 1), memoryview(bytes(16_000_000)))


def params(**parameters: Any) -> bytes:
    return body(IMAGES, parameters=parameters)


def outputs(*entries: Any) -> bytes:
    return body(IMAGES, outputs=list(entries))


def binary(shape: list[int], size: int, after: bytes, **changes: Any) -> tuple[bytes, dict[str, str]]:
    """A request with `images` as bytes, and the header with the length of its JSON."""
    entry = {"name": "images", "datatype": "UINT8", "shape": shape, "parameters": {"binary_data_size": size}} | changes
    text = body(entry)
    return text + after, {HEADER: str(len(text))}


REFUSED: dict[str, tuple[Any, int, str]] = {
    "nothing": (b"", 422, "is not JSON"),
    "no JSON": (b"hello", 422, "is not JSON"),
    "not UTF-8": (b'{"id": "\xff"}', 422, "is not JSON"),
    "nested without end": (b"[" * 100_000, 422, "is not JSON"),
    "a list": (b"[]", 422, "the request is not a JSON object"),
    "a misspelt field": (body(IMAGES, ouputs=[]), 400, "the request: unknown field 'ouputs'"),
    "a field twice": (b'{"id": "a:b", "inputs": [], "id": "c"}', 422, "the request has the key 'id' twice; give it"),
    "a parameter twice": (b'{"parameters": {"alpha": 0, "alpha": 1}, "inputs": []}', 422, "has the key 'alpha' twice"),
    "an input's field twice": (b'{"inputs": [{"name": "images", "name": "encoded"}]}', 422, "has the key 'name' twice"),
    "a weight twice": (b'{"parameters": {"prior": {"a": 1, "a": 2}}}', 422, "the request has the key 'a' twice"),
    "an input's unknown field": (body(IMAGES | {"dtype": "UINT8"}), 400, "an input: unknown field 'dtype'"),
    "an id that is a number": (body(IMAGES, id=5), 422, "'id' is not a string"),
    "parameters in a list": (body(IMAGES, parameters=[1]), 422, "'parameters' is not an object"),
    "inputs that are an object": (orjson.dumps({"inputs": {}}), 422, "'inputs' is not a list"),
    "no inputs": (body(), 422, "exactly one of the inputs 'images' and 'encoded'"),
    "only an alpha": (body(ALPHA), 422, "exactly one of the inputs 'images' and 'encoded'"),
    "both inputs": (body(IMAGES, ENCODED | {"data": [""]}), 422, "exactly one of the inputs"),
    "an unknown input": (body(IMAGES | {"name": "x"}), 422, "no input 'x'; there are: images, encoded, alpha"),
    "an input without a name": (body({"shape": [1]}), 422, "no input 'None'"),
    "an input named by a list": (body(IMAGES | {"name": ["images"]}), 422, "there is no input"),
    "an input that is a text": (orjson.dumps({"inputs": ["images"]}), 422, "an input is not a JSON object"),
    "an input twice": (body(IMAGES, IMAGES), 422, "input 'images' is given twice"),
    "another datatype": (body(as_json(ONE, datatype="FP32")), 422, "input 'images' is UINT8, not 'FP32'"),
    "no datatype": (body({"name": "images", "shape": [1]}), 422, "input 'images' is UINT8, not 'None'"),
    "no shape": (body({"name": "images", "datatype": "UINT8"}), 422, "needs a shape"),
    "a shape of texts": (body(as_json(ONE, shape=["1"])), 422, "every dimension of its shape must be"),
    "a negative shape": (body(as_json(ONE, shape=[-1, 8, 8, 3])), 422, "a whole number of at least 1"),
    "an empty batch": (body(as_json(ONE, shape=[0, 8, 8, 3], data=[])), 422, "a whole number of at least 1"),
    "a shape of truths": (body(as_json(ONE, shape=[True, 8, 8, 3])), 422, "a whole number of at least 1"),
    "a shape of many": (body(as_json(ONE, shape=[1] * 9)), 422, "a list of 1 to 8 numbers"),
    "a huge shape": (body(as_json(ONE, shape=[2**62] * 8)), 422, "elements, not 192"),
    "another size": (body(as_json(ONE, shape=[1, 8, 24])), 422, "tiny takes [batch, 8, 8, 3], or files of any size"),
    "too few numbers": (body(as_json(ONE, data=[1, 2])), 422, "needs 192 elements, not 2"),
    "no data": (body(IMAGES | {"data": None}), 422, "has no data; give a list, or binary data"),
    "data that is an object": (body(IMAGES | {"data": {}}), 422, "has no data"),
    "fractions": (body(as_json(ONE, data=[0.5] * 192)), 422, "every element of UINT8 must be a whole number"),
    "truths": (body(as_json(ONE, data=[True] * 192)), 422, "every element of UINT8 must be a whole number"),
    "texts for numbers": (body(as_json(ONE, data=["1"] * 192)), 422, "every element of UINT8 must be a whole number"),
    "numbers too large": (body(as_json(ONE, data=[256] * 192)), 422, "every element of UINT8 must be from 0 to 255"),
    "numbers too small": (body(as_json(ONE, data=[-1] * 192)), 422, "every element of UINT8 must be from 0 to 255"),
    "lists among numbers": (body(as_json(ONE, data=[[1]] + [1] * 191)), 422, "mixes lists and elements"),
    "nested too deep": (body(as_json(ONE, data=[[[[[[1]]]]]] * 192)), 422, "must be a whole number"),
    "bytes that are no base64": (body(ENCODED | {"data": ["ä"]}), 422, "element 0 is not base64"),
    "bytes that are numbers": (body(ENCODED | {"data": [1]}), 422, "every element of BYTES must be a string"),
    "files in two dimensions": (body(ENCODED | {"shape": [1, 2], "data": ["", ""]}), 422, "expected [batch]"),
    "an empty file": (body(ENCODED | {"data": [""]}), 422, "element 0: the image is empty"),
    "an alpha too few": (body(as_json(pictures(2)), ALPHA), 422, "input 'alpha' has shape [1]; expected [2]"),
    "an alpha too large": (body(IMAGES, ALPHA | {"data": [101]}), 422, "element 0: 101 is outside -100..100"),
    "an alpha beyond numbers": (body(IMAGES, ALPHA | {"data": [1e300]}), 422, "element 0: inf is not a finite number"),
    "an alpha twice": (body(IMAGES, ALPHA, parameters={"alpha": 1}), 422, "as a parameter and as an input"),
    "an unknown parameter": (params(alfa=1), 400, "unknown parameter 'alfa'; did you mean 'alpha'?"),
    "alpha true": (params(alpha=True), 422, "'alpha' is neither a number nor an operating point's name"),
    "alpha a list": (params(alpha=[1]), 422, "'alpha' is neither a number nor"),
    "an unknown point": (params(alpha="night"), 422, "alpha 'night' is neither a finite number nor an operating point"),
    "a large alpha": (params(alpha=1e5), 422, "outside -100..100"),
    "a prior in numbers": (params(prior=1), 422, "'prior' is not a string"),
    "an unknown prior": (params(prior="mine"), 422, "prior"),
    "a negative timeout": (params(timeout=-1), 422, "'timeout' is -1 microseconds"),
    "a timeout in halves": (params(timeout=0.5), 422, "'timeout' is not a whole number"),
    "binary output perhaps": (params(binary_data_output="yes"), 422, "'binary_data_output' is not true or false"),
    "a sequence": (params(sequence_id="a"), 501, "neither sequences nor priorities"),
    "an unknown output": (outputs({"name": "x"}), 422, "no output 'x'; there are: logits, head_cosine"),
    "an output named by a list": (outputs({"name": ["logits"]}), 422, "there is no output"),
    "an output that is a text": (outputs("logits"), 422, "an output is not a JSON object"),
    "an output twice": (outputs(PROBABILITIES, PROBABILITIES), 422, "output 'probabilities' is requested twice"),
    "many outputs": (outputs(*[PROBABILITIES] * 20_000), 422, "is requested twice"),
    "no classes": (outputs(PROBABILITIES | {"parameters": {"classification": 0}}), 422, "outside 1..5"),
    "too many classes": (outputs(PROBABILITIES | {"parameters": {"classification": 6}}), 422, "outside 1..5"),
    "half a class": (outputs(PROBABILITIES | {"parameters": {"classification": 0.5}}), 422, "is not a number of"),
    "shared output": (
        outputs(PROBABILITIES | {"parameters": {"shared_memory_region": "x"}}), 501, "shared memory is not supported",
    ),
    "an unknown output parameter": (
        outputs(PROBABILITIES | {"parameters": {"top": 1}}), 400, "unknown parameter 'top'; the parameters are: binary",
    ),
    "too many pictures": (
        body(ENCODED | {"shape": [65], "data": [""] * 65}), 413, "65 pictures; one request may have at most 64",
    ),
    "a header beyond the body": ((body(IMAGES), {HEADER: "99999"}), 422, "'99999' is not a number from 0 to 758"),
    "a negative header": ((body(IMAGES), {HEADER: "-1"}), 422, "'-1' is not a number"),
    "a header of letters": ((body(IMAGES), {HEADER: "x" * 900}), 422, "is not a number from 0 to"),
    "a header of other digits": ((body(IMAGES), {HEADER: "²"}), 422, "is not a number from 0 to"),
    "a header inside the JSON": ((body(IMAGES), {HEADER: "5"}), 422, "is not JSON"),
    "nothing raw": ((b"", {HEADER: "0"}), 400, "the body is empty"),
    "no picture raw": ((b"hello", {HEADER: "0"}), 422, "element 0: these bytes are not an image"),
    "fewer bytes than said": (binary([1, 8, 8, 3], 192, b"x"), 422, "has 192 bytes of binary data, but 1 are left"),
    "a negative size": (binary([1, 8, 8, 3], -1, b"x"), 422, "has -1 bytes of binary data"),
    "more bytes than said": (binary([1, 8, 8, 3], 192, bytes(200)), 422, "8 bytes after the JSON belong to no input"),
    "bytes and numbers": (binary([1, 8, 8, 3], 192, bytes(192), data=[1]), 422, "both data and a binary_data_size"),
    "bytes of another shape": (binary([2, 8, 8, 3], 192, bytes(192)), 422, "needs 384 bytes, not 192"),
    "an element beyond the tensor": (
        binary([1], 6, b"\xff\xff\xff\xff..", name="encoded", datatype="BYTES"), 422, "element 0 of 1 does not fit",
    ),
    "half a length": (binary([2], 5, b"\1\0\0\0x", name="encoded", datatype="BYTES"), 422, "element 1 of 2 does not"),
    "bytes left over": (binary([1], 6, bytes(6), name="encoded", datatype="BYTES"), 422, "2 bytes are left over"),
    "an unknown compression": ((body(IMAGES), {"Content-Encoding": "br"}), 415, "'br' is not supported"),
    "no gzip data": ((body(IMAGES), {"Content-Encoding": "gzip"}), 422, "the body is not gzip"),
    "half": ((gzip.compress(body(IMAGES))[:-20], {"Content-Encoding": "gzip"}), 422, "ends before its gzip stream"),
    "more than one stream": (
        (zlib.compress(body(IMAGES)) + b"x", {"Content-Encoding": "deflate"}), 422,
        "continues after the end of its deflate stream",
    ),
}  # fmt: skip


def message_of(answer: httpx.Response) -> str:
    """The message of an error response, which has the protocol's form and no other field."""
    assert answer.headers["Content-Type"] == "application/json"
    fields = answer.json()
    assert list(fields) == ["error"]
    assert isinstance(fields["error"], str)
    assert len(fields["error"]) > 15
    return str(fields["error"])


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("hostile"), "--max-body-mb", "1") as found:
        yield f"http://{found}"


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[httpx.Client]:
    fresh = httpx.Limits(max_keepalive_connections=0)  # a machine that stalls between two tests closes idle ones
    with httpx.Client(base_url=address, timeout=60, limits=fresh) as made:
        yield made


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_an_invalid_request_gets_a_message_that_says_what_is_wrong(
    client: httpx.Client, case: tuple[Any, int, str]
) -> None:
    request, status, words = case
    content, headers = request if isinstance(request, tuple) else (request, {})
    answer = client.post(INFER, content=content, headers=[(name, value.encode()) for name, value in headers.items()])
    good = client.post(INFER, content=body(IMAGES))
    assert (answer.status_code, good.status_code) == (status, 200)
    assert words in message_of(answer)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/health/live//", 404),
        ("GET", "/v2//models", 404),
        ("DELETE", "/v2", 405),
        ("POST", "/v2/health/ready", 405),
        ("GET", INFER, 405),
        ("PUT", "/v2/models/tiny/versions/1/infer", 405),
        ("GET", "/v2/repository/index", 405),
        ("GET", "/v2/models/unknown", 404),
        ("GET", "/v2/models/tiny/versions/-1", 404),
        ("GET", "/v2/models/tiny/versions/99999999999999999999/config", 404),
        ("GET", "/v2/models/tiny/versions/%C2%B2/stats", 404),
        ("POST", "/v2/models/tiny/versions/%C2%B2/infer", 404),
        ("POST", "/v2/models/tiny/infer?version=1", 400),
        ("POST", "/v2/models/unknown/infer", 404),
        ("POST", "/v2/models/tiny/generate", 501),
        ("POST", "/v2/models/tiny/versions/1/generate_stream", 501),
        ("POST", "/v2/models/tiny/trace/setting", 501),
        ("GET", "/v2/cudasharedmemory/region/a/status", 501),
    ],
)
def test_every_error_under_v2_has_the_protocols_form(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    message_of(answer)
    assert answer.status_code == status
    assert ("Allow" in answer.headers) is (status == 405)


@pytest.mark.anyio
async def test_internal_errors_have_the_protocols_form_and_reveal_nothing(running: Running) -> None:
    async with running() as service:
        service.engines["tiny"].failure = ValueError("secret")
        failed = await service.client.post(INFER, content=body(IMAGES))
        object.__setattr__(service.app.state.context, "registry", None)
        unexpected = await service.client.get("/v2/models/tiny")
    assert (failed.status_code, unexpected.status_code) == (500, 500)
    assert "secret" not in message_of(failed)
    assert "NoneType" not in message_of(unexpected)


@pytest.mark.anyio
async def test_a_server_that_is_stopping_is_not_ready(running: Running) -> None:
    async with running() as service:
        service.app.state.context.lifecycle.draining = True
        answers = [await service.client.get(f"/v2/{path}/ready") for path in ("health", "models/tiny")]
        alive = await service.client.get("/v2/health/live")
    assert [answer.status_code for answer in (*answers, alive)] == [503, 503, 200]
    assert {message_of(answer) for answer in answers} == {"the server is starting or stopping"}


@pytest.mark.anyio
async def test_an_overloaded_server_says_when_to_retry(running: Running) -> None:
    async with running(max_pending_images=2) as service:
        answer = await service.client.post(INFER, content=body(as_json(pictures(3))))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "try again in a second, or send fewer" in message_of(answer)


@pytest.mark.anyio
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_decompression_stops_at_the_limit(running: Running, encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    bomb = pack(bytes(50_000_000))
    async with running(max_body_mb=1) as service:
        answer = await service.client.post(INFER, content=bomb, headers={"Content-Encoding": encoding})
        large = await service.client.post(INFER, content=bytes(1_000_001))
    assert [answer.status_code, large.status_code] == [413, 413]
    assert "exceeds 1 MB after decompression" in message_of(answer)
    assert "exceeds 1 MB" in message_of(large)


@pytest.mark.parametrize(
    ("path", "fields", "status", "words"),
    [
        ("index", {"ready": "true"}, 422, "'ready' is not true or false"),
        ("index", {"ready": 1}, 422, "'ready' is not true or false"),
        ("index", {"Ready": True}, 400, "the body: unknown field 'Ready'; did you mean 'ready'?"),
        ("index", [], 422, "the body is not a JSON object"),
        ("models/none/load", {"parameter": {}}, 400, "unknown field 'parameter'; did you mean 'parameters'?"),
        ("models/none/load", {"parameters": []}, 422, "'parameters' is not an object"),
        ("models/none/load", {"parameters": {"config": "{}"}}, 501, "models are loaded unchanged"),
        ("models/none/unload", {"parameters": {"unload_dependants": True}}, 400, "did you mean 'unload_dependents'?"),
        ("models/none/unload", {"parameters": {"unload_dependents": "x"}}, 422, "is not true or false"),
        ("models/none/unload", {"parameters": {"unload_dependents": True}}, 404, "no model 'none'"),
    ],
)
def test_what_a_repository_request_should_not_have_is_refused(
    client: httpx.Client, path: str, fields: Any, status: int, words: str
) -> None:
    answer = client.post(f"/v2/repository/{path}", json=fields)
    assert answer.status_code == status
    assert words in message_of(answer)


@pytest.mark.anyio
async def test_the_json_limit_does_not_count_the_bytes_after_it(running: Running) -> None:
    text = body(as_json(pictures(8)))
    async with running(max_json_mb=0.001) as service:
        large = await service.client.post(INFER, content=text)
        content, headers = binary([8, 8, 8, 3], 1536, pictures(8).tobytes())
        good = await service.client.post(INFER, content=content, headers=headers)
        index = await service.client.post("/v2/repository/index", content=bytes(1001))
    assert [large.status_code, good.status_code, index.status_code] == [413, 200, 413]
    assert "send large tensors as binary data after it" in message_of(large)


@pytest.mark.anyio
async def test_a_broken_picture_does_not_affect_other_requests(running: Running) -> None:
    async with running() as service:
        service.engines["tiny"].gate.clear()
        text = body(ENCODED | {"shape": [2], "data": ["aGVsbG8=", "aGVsbG8="]})
        good = asyncio.create_task(service.client.post(INFER, content=body(IMAGES)))
        broken = await service.client.post(INFER, content=text)
        service.engines["tiny"].gate.set()
        answer = await good
        metrics = (await service.client.get("/metrics")).text
    assert (broken.status_code, answer.status_code) == (422, 200)
    assert 'longtail_image_errors_total{code="unreadable_image",model="tiny"} 1.0' in metrics
    assert 'longtail_images_total{model="tiny"} 1.0' in metrics


@pytest.mark.anyio
async def test_a_page_of_another_origin_may_read_but_not_infer(running: Running) -> None:
    async with running() as service:
        foreign = {"Origin": "http://elsewhere.example"}
        posted = await service.client.post(INFER, content=body(IMAGES), headers=foreign)
        indexed = await service.client.post("/v2/repository/index", headers=foreign)
        read = await service.client.get("/v2", headers=foreign)
    assert [posted.status_code, indexed.status_code, read.status_code] == [403, 403, 200]
    assert "a page of http://elsewhere.example may not POST here" in message_of(posted)


@pytest.mark.anyio
async def test_logits_are_exactly_those_of_the_engine(running: Running) -> None:
    images = pictures(5)
    async with running() as service:
        answer = await service.client.post(INFER, content=body(as_json(images), outputs=[{"name": "logits"}]))
        engine = service.engines["tiny"]
    (output,) = answer.json()["outputs"]
    assert np.array_equal(np.float32(output["data"]).reshape(output["shape"]), engine.logits(images))


@pytest.mark.anyio
async def test_an_image_whose_output_is_not_finite_fails_its_request(running: Running) -> None:
    async with running() as service:
        service.engines["tiny"].spoil = lambda logits: logits * np.float32(np.nan)
        answer = await service.client.post(INFER, content=body(as_json(pictures(2))))
        stats = (await service.client.get("/v2/models/tiny/stats")).json()["model_stats"][0]["inference_stats"]
    assert answer.status_code == 500
    assert "is not finite" in message_of(answer)
    assert (stats["success"]["count"], stats["fail"]["count"]) == (0, 1)
    assert InferenceError.__name__ not in answer.text


PIECES = [
    b'{"inputs":[', b'{"name":"images","datatype":"UINT8","shape":[1,8,8,3]', b',"data":[', b"]}", b"]", b"}", b",",
    b'{"name":"encoded","datatype":"BYTES","shape":[1]', b',"parameters":{"binary_data_size":', b"12", b"-1", b"1e9",
    b'"outputs":[{"name":"logits"}]', b'"parameters":{"alpha":', b'"balanced"', b"null", b"true", b"[[", b"\0", b"\xff",
    body(IMAGES), png(ONE[0]), files(ONE)[0][:60], gzip.compress(body(IMAGES)), zlib.compress(body(IMAGES)),
]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(list(IMAGES)), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries(
    {"inputs": st.lists(VALUES | st.fixed_dictionaries(dict.fromkeys(IMAGES, VALUES)), max_size=2)},
    optional={"outputs": VALUES, "parameters": VALUES, "id": VALUES},
)


@settings(max_examples=300, deadline=None)
@given(
    content=st.lists(st.sampled_from(PIECES) | st.binary(max_size=9), max_size=8).map(b"".join)
    | FIELDS.map(orjson.dumps),
    header=st.none()
    | st.sampled_from(["0", "5", "192", "-1", "", "1e3", "99999999999999999999"])
    | st.integers(0, 900),
    encoding=st.sampled_from(["", "", "", "gzip", "deflate", "identity", "br", "gzip, gzip", "\xff"]),
    accepted=st.sampled_from(["", "gzip", "deflate;q=x", "gzip;q=0,deflate", ",;,", "\xff"]),
)
def test_random_requests_are_answered_and_never_with_a_500(
    client: httpx.Client, content: bytes, header: str | int | None, encoding: str, accepted: str
) -> None:
    headers = [("Content-Encoding", encoding.encode("latin-1")), ("Accept-Encoding", accepted.encode("latin-1"))]
    if header is not None:
        headers.append((HEADER, str(header).encode()))
    answer = client.post(INFER, content=content, headers=headers)
    if answer.status_code != 200:
        assert answer.status_code < 500 or answer.status_code == 501
        message_of(answer)


@pytest.mark.anyio
async def test_a_client_disconnect_leaves_nothing_pending(running: Running) -> None:
    async with running(inference_threads=1) as service:
        service.engines["tiny"].gate.clear()
        asking = asyncio.create_task(service.client.post(INFER, content=body(as_json(pictures(4)))))
        await asyncio.to_thread(service.engines["tiny"].running.acquire)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        service.engines["tiny"].gate.set()
        good = await service.client.post(INFER, content=body(IMAGES))
        metrics = (await service.client.get("/metrics")).text
    assert good.status_code == 200
    assert "longtail_pending_images 0.0" in metrics
