"""What clients of other servers send besides what they mean: taken if it fits, ignored if it is listed, else refused.

The same rules hold in JSON, in bytes after the JSON, and over gRPC. `tests/clients` runs the clients themselves.
"""

import asyncio
from base64 import b64encode
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from service.errors import ProtocolFieldError, RequestError
from service.openinference.parameters import FOREIGN, Foreign, Level
from service.openinference.requests import InferRequest
from service.openinference.rpc.infer_messages import read_request
from service.openinference.rpc.messages import message_class
from tests.service.conftest import Running
from tests.service.openinference.serving import HEADER, INFER, as_json, body, pictures, png
from tests.service.server.test_process import ROOT

PIXELS = pictures(2)
FILES = [png(each) for each in PIXELS]
TEXTS = [b64encode(file).decode() for file in FILES]
IMAGES = as_json(PIXELS)
ENCODED = {"name": "encoded", "datatype": "BYTES", "shape": [2, 1], "data": TEXTS}
PROBABILITIES = {"name": "probabilities"}


def with_parameter(level: Level, name: str, value: Any) -> bytes:
    """A request with a parameter of its own, of its input or of its output."""
    parameters = {"parameters": {name: value}}
    return body(
        IMAGES | (parameters if level == "input" else {}),
        outputs=[PROBABILITIES | (parameters if level == "output" else {})],
        **(parameters if level == "request" else {}),
    )


def rpc_message(**content: Any) -> Any:
    """A ModelInferRequest for `encoded`, two files as separate values, with changes to its input."""
    message = message_class("ModelInferRequest")(model_name="tiny")
    given = message.inputs.add(name="encoded", datatype="BYTES", shape=[2, 1])
    given.contents.bytes_contents.extend(content.get("elements", FILES))
    if "content_type" in content:
        given.parameters["content_type"].string_param = content["content_type"]
    return message


def elements_of(request: InferRequest) -> Any:
    return request.inputs["encoded"].elements


@pytest.mark.anyio
@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda each: each.name)
async def test_a_listed_parameter_of_another_server_changes_nothing(running: Running, foreign: Foreign) -> None:
    async with running() as service:
        plain = await service.client.post(INFER, content=body(IMAGES, outputs=[PROBABILITIES]))
        for level in foreign.levels:
            value = {"host": "x"} if foreign.name == "headers" else len(FILES)
            if (level, foreign.name) == ("input", "binary_data_size"):
                continue  # REST has it
            answer = await service.client.post(INFER, content=with_parameter(level, foreign.name, value))
            assert (answer.status_code, answer.json()) == (200, plain.json())


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda each: each.name)
def test_over_grpc_a_listed_parameter_changes_nothing(foreign: Foreign) -> None:
    message = rpc_message()
    message.outputs.add(name="probabilities")
    places = {"request": message, "input": message.inputs[0], "output": message.outputs[0]}
    for level in foreign.levels:
        places[level].parameters[foreign.name].int64_param = 7
    assert elements_of(read_request(message)) == FILES


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("level", "name", "meant"),
    [
        ("request", "alhpa", "alpha"),
        ("request", "Alpha", "alpha"),
        ("request", "ALPHA", "alpha"),
        ("request", "priors", "prior"),
        ("request", "timeout_us", "timeout"),
        ("request", "binary_output", "binary_data_output"),
        ("request", "content-type", "content_type"),
        ("input", "binary_data_sise", "binary_data_size"),
        ("input", "contenttype", "content_type"),
        ("output", "classifications", "classification"),
        ("output", "binary-data", "binary_data"),
    ],
)
async def test_a_misspelt_parameter_is_refused_with_the_name_that_was_meant(
    running: Running, level: Level, name: str, meant: str
) -> None:
    async with running() as service:
        answer = await service.client.post(INFER, content=with_parameter(level, name, 1))
    assert answer.status_code == 400
    assert f"unknown parameter {name!r}; did you mean {meant!r}?" in answer.json()["error"]
    message = rpc_message()
    message.outputs.add(name="probabilities")
    places = {"request": message, "input": message.inputs[0], "output": message.outputs[0]}
    places[level].parameters[name].int64_param = 1
    with pytest.raises(ProtocolFieldError, match=f"did you mean '{meant}'"):
        read_request(message)


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["triton_enable_empty_final_respons", "triton_final_response", "header", "stream"])
async def test_a_name_that_is_neither_ours_nor_listed_is_refused(running: Running, name: str) -> None:
    async with running() as service:
        answer = await service.client.post(INFER, content=with_parameter("request", name, True))
    assert answer.status_code == 400
    assert f"the request: unknown parameter {name!r}" in answer.json()["error"]


@pytest.mark.anyio
@pytest.mark.parametrize("content_type", ["base64", "str", "np"])
async def test_content_types_that_fit_pictures_are_taken(running: Running, content_type: str) -> None:
    kept = {"content_type": content_type}
    text = orjson.dumps({"inputs": [{name: ENCODED[name] for name in ("name", "datatype", "shape")}]})
    async with running() as service:
        plain = await service.client.post(INFER, content=body(ENCODED))
        of_input = await service.client.post(INFER, content=body(ENCODED | {"parameters": kept}))
        of_request = await service.client.post(INFER, content=body(ENCODED, parameters=kept))
        raw = b"".join(len(each).to_bytes(4, "little") + each.encode() for each in TEXTS)
        entry = orjson.loads(text)["inputs"][0] | {"parameters": kept | {"binary_data_size": len(raw)}}
        head = body(entry)
        binary = await service.client.post(INFER, content=head + raw, headers={HEADER: str(len(head))})
    assert plain.status_code == 200
    assert [of_input.json(), of_request.json(), binary.json()] == [plain.json()] * 3
    texts = [text.encode() for text in TEXTS]
    assert elements_of(read_request(rpc_message(elements=texts, content_type=content_type))) == FILES


@pytest.mark.parametrize(
    ("elements", "read"),
    [
        (FILES, FILES),
        ([text.encode() for text in TEXTS], FILES),
        ([FILES[0], TEXTS[1].encode()], FILES),
        ([b"YQ==", b"/9j/AA=="], [b"YQ==", b"\xff\xd8\xff\x00"]),
    ],
    ids=["files", "base64", "both", "no picture"],
)
def test_over_grpc_the_bytes_decide_whether_a_picture_is_base64(elements: list[bytes], read: list[bytes]) -> None:
    assert elements_of(read_request(rpc_message(elements=elements))) == read


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("request_body", "words"),
    [
        (body(ENCODED | {"parameters": {"content_type": "pd"}}), "input 'encoded': content_type 'pd' does not fit"),
        (body(ENCODED, parameters={"content_type": "datetime"}), "the request: content_type 'datetime' does not fit"),
        (body(IMAGES | {"parameters": {"content_type": "base64"}}), "input 'images': content_type 'base64' does not"),
        (body(IMAGES, parameters={"content_type": "str"}), "the request: content_type 'str' does not fit; leave it"),
        (body(IMAGES | {"parameters": {"content_type": 1}}), "'content_type' is not a string"),
        (
            body(IMAGES, outputs=[PROBABILITIES | {"parameters": {"content_type": "str"}}]),
            "output 'probabilities': content_type 'str' does not fit; leave it out, or give np",
        ),
        (
            body(IMAGES, outputs=[PROBABILITIES | {"parameters": {"content_type": "base64", "classification": 2}}]),
            "output 'probabilities': content_type 'base64' does not fit",
        ),
    ],
)
async def test_content_types_that_do_not_fit_are_refused(running: Running, request_body: bytes, words: str) -> None:
    async with running() as service:
        answer = await service.client.post(INFER, content=request_body)
    assert answer.status_code == 422
    assert words in answer.json()["error"]


def test_a_file_that_is_said_to_be_base64_is_refused() -> None:
    with pytest.raises(RequestError, match="input 'encoded': element 0 is not base64"):
        read_request(rpc_message(content_type="base64"))


@pytest.mark.anyio
async def test_pixels_and_outputs_may_name_the_content_types_that_fit_them(running: Running) -> None:
    numpy = {"parameters": {"content_type": "np"}}
    labels = {"name": "logits", "parameters": {"content_type": "str", "classification": 2}}
    async with running() as service:
        answer = await service.client.post(INFER, content=body(IMAGES | numpy, outputs=[PROBABILITIES | numpy, labels]))
    assert [output["shape"] for output in answer.json()["outputs"]] == [[2, 5], [2, 2]]


@pytest.mark.anyio
async def test_whole_floats_are_taken_wherever_an_integer_is_meant(running: Running) -> None:
    output = {"name": "probabilities", "parameters": {"classification": 2}}
    as_floats = as_json(np.float64(PIXELS), shape=[2.0, 8.0, 8.0, 3.0])
    floats = body(as_floats, outputs=[output | {"parameters": {"classification": 2.0}}], parameters={"timeout": 6e7})
    raw = PIXELS.tobytes()
    head = body(
        {"name": "images", "datatype": "UINT8", "shape": [2, 8, 8, 3.0], "parameters": {"binary_data_size": 384.0}}
    )
    async with running() as service:
        plain = await service.client.post(INFER, content=body(IMAGES, outputs=[output]))
        answer = await service.client.post(INFER, content=floats)
        binary = await service.client.post(INFER, content=head + raw, headers={HEADER: str(len(head))})
        fraction = await service.client.post(INFER, content=body(as_json(PIXELS, shape=[2, 8, 8, 3.5])))
    assert answer.json() == plain.json()
    assert plain.json()["outputs"][0]["shape"] == [2, 2]
    assert (binary.status_code, fraction.status_code) == (200, 422)


def test_over_grpc_whole_floats_are_taken_for_integers() -> None:
    message = rpc_message()
    message.parameters["timeout"].double_param = 3000.0
    message.outputs.add(name="logits").parameters["classification"].double_param = 3.0
    request = read_request(message)
    assert (request.parameters.timeout, request.outputs[0].classes) == (3000, 3)
    message.outputs[0].parameters["classification"].double_param = 2.5
    with pytest.raises(RequestError, match="'classification' is not a number of classes"):
        read_request(message)


@pytest.mark.anyio
async def test_a_prior_may_be_an_object_or_its_text(running: Running) -> None:
    weights = {f"class {index}": index + 1.0 for index in range(5)}
    async with running() as service:
        both = [
            await service.client.post(INFER, content=body(IMAGES, parameters={"prior": prior}))
            for prior in (weights, orjson.dumps(weights).decode(), None)
        ]
    assert [answer.status_code for answer in both] == [200] * 3
    assert both[0].json() == both[1].json() != both[2].json()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"model_name": "tiny"}, 200),
        ({"model_name": "tiny", "model_version": "1"}, 200),
        ({"model_version": 1}, 200),
        ({"model_name": "", "model_version": None}, 200),
        ({"model_name": "other"}, 422),
        ({"model_version": "2"}, 422),
        ({"model_version": True}, 422),
        ({"model_name": ["tiny"]}, 422),
    ],
)
async def test_a_model_that_the_body_names_is_the_model_of_the_path(
    running: Running, fields: dict[str, Any], status: int
) -> None:
    async with running() as service:
        answer = await service.client.post(INFER, content=body(IMAGES, **fields))
    assert answer.status_code == status
    if status == 422:
        assert "but the path leads to tiny version 1" in answer.json()["error"]


def test_contents_beside_raw_contents_are_refused() -> None:
    message = rpc_message()
    message.raw_input_contents.append(b"".join(len(file).to_bytes(4, "little") + file for file in FILES))
    with pytest.raises(RequestError, match="input 'encoded' has both contents and raw_input_contents"):
        read_request(message)


@pytest.mark.anyio
async def test_the_models_in_service_are_listed_as_kserves_runtimes_list_them(running: Running) -> None:
    async with running() as service:
        answers = [await service.client.get(path) for path in ("/v2/models", "/v2/models/")]
        await service.client.post("/v2/repository/models/tiny/unload")
        none = await service.client.get("/v2/models")
    assert [answer.json() for answer in (*answers, none)] == [{"models": ["tiny"]}] * 2 + [{"models": []}]


@pytest.mark.anyio
async def test_a_picture_from_the_cache_counts_in_the_queue_and_the_configuration_names_the_cache(
    running: Running,
) -> None:
    async def reaches(client: httpx.AsyncClient, **expected: int) -> None:
        """Read the counts until they are as expected: a thread counts a batch after its answers are on their way."""
        found: dict[str, int] = {}
        async with asyncio.timeout(10):
            while found != expected:
                stats = (await client.get("/v2/models/tiny/stats")).json()["model_stats"][0]["inference_stats"]
                found = {name: stats[name]["count"] for name in expected}

    async with running(cache_mb=1) as service:
        for _ in range(3):
            assert (await service.client.post(INFER, content=body(ENCODED))).status_code == 200
        await reaches(service.client, success=3, queue=6, cache_hit=4, cache_miss=2)
        twins = ENCODED | {"data": [b64encode(png(pictures(1, seed=5)[0])).decode()] * 2}
        assert (await service.client.post(INFER, content=body(twins))).status_code == 200  # one joins the other
        await reaches(service.client, success=4, queue=8, cache_hit=4, cache_miss=4)
        cached = (await service.client.get("/v2/models/tiny/config")).json()["response_cache"]
    async with running(cache_mb=0) as service:
        uncached = (await service.client.get("/v2/models/tiny/config")).json()["response_cache"]
    assert (cached, uncached) == ({"enable": True}, {"enable": False})


def test_the_documents_list_the_parameters_that_are_ignored() -> None:
    page = (ROOT / "docs" / "reference" / "open-inference-protocol.md").read_text()
    table = page.partition("and are ignored:")[2].partition("\n\n`model_name`")[0]
    assert [row.split("`")[1] for row in table.splitlines() if "`" in row[:4]] == [each.name for each in FOREIGN]
