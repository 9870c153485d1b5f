"""Triton's HTTP clients, unmodified, against a real server: every kind of request, and the numbers in the answers."""

from collections.abc import Iterator
from functools import partial

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.service.openinference.serving import (
    BALANCED,
    HEADER,
    INFER,
    OUTPUTS,
    TOLERANCE,
    expected,
    files,
    pictures,
    png,
    serving,
    tensor,
)

close = partial(np.testing.assert_allclose, rtol=0, atol=TOLERANCE)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("openinference")) as found:
        yield found


@pytest.fixture
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address, concurrency=8) as made:
        yield made


def test_the_server_and_its_models_report_whether_they_are_live_and_ready(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    models = [("tiny", ""), ("tiny", "1"), ("tiny", "2"), ("tiny", "one"), ("unknown", "")]
    assert [client.is_model_ready(*model) for model in models] == [True, True, False, False, False]


def test_the_server_lists_exactly_the_extensions_that_it_has(client: triton.InferenceServerClient) -> None:
    said = client.get_server_metadata()
    assert said["name"] == "longtail"
    assert said["extensions"] == [
        "binary_tensor_data", "classification", "model_configuration", "model_repository",
        "model_repository(unload_dependents)", "parameters", "statistics",
    ]  # fmt: skip


def test_metadata_and_configuration_of_a_model_agree(client: triton.InferenceServerClient) -> None:
    metadata = client.get_model_metadata("tiny", "1")
    config = client.get_model_config("tiny")
    assert (metadata["name"], metadata["versions"], config["name"]) == ("tiny", ["1"], "tiny")
    assert [(each["name"], each["datatype"], each["shape"]) for each in metadata["inputs"]] == [
        ("images", "UINT8", [-1, 8, 8, 3]), ("encoded", "BYTES", [-1, 1]), ("alpha", "FP32", [-1, 1]),
    ]  # fmt: skip
    assert {each["name"]: each["shape"] for each in metadata["outputs"]} == {
        "logits": [-1, 5], "head_cosine": [-1, 2], "tde_logits": [-1, 5], "probabilities": [-1, 5],
    }  # fmt: skip
    for kind in ("input", "output"):
        assert [each["name"] for each in config[kind]] == [each["name"] for each in metadata[f"{kind}s"]]
    assert (config["platform"], config["max_batch_size"]) == (metadata["platform"], 64)
    assert config["parameters"]["alpha.tail"] == {"string_value": "2.0"}


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_bytes_and_json_give_the_same_numbers(
    client: triton.InferenceServerClient, binary_in: bool, binary_out: bool
) -> None:
    images = pictures(3)
    wanted = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in OUTPUTS]
    result = client.infer("tiny", [tensor("images", images, binary=binary_in)], outputs=wanted, request_id="17")
    assert result.get_response()["id"] == "17"
    assert (result.get_response()["model_name"], result.get_response()["model_version"]) == ("tiny", "1")
    for name, values in expected(images).items():
        assert result.as_numpy(name).dtype == np.float32
        close(result.as_numpy(name), values)


def test_a_request_without_outputs_gets_all_of_them(client: triton.InferenceServerClient) -> None:
    result = client.infer("tiny", [tensor("images", pictures(2))])
    assert [each["name"] for each in result.get_response()["outputs"]] == OUTPUTS
    assert "id" not in result.get_response()


def test_outputs_have_the_requested_order_and_form(client: triton.InferenceServerClient) -> None:
    images = pictures(2)
    wanted = [
        triton.InferRequestedOutput("probabilities", binary_data=False),
        triton.InferRequestedOutput("tde_logits", binary_data=True),
        triton.InferRequestedOutput("logits", binary_data=False),
        triton.InferRequestedOutput("head_cosine", binary_data=True),
    ]
    result = client.infer("tiny", [tensor("images", images)], outputs=wanted)
    outputs = result.get_response()["outputs"]
    assert [each["name"] for each in outputs] == ["probabilities", "tde_logits", "logits", "head_cosine"]
    assert ["data" in each for each in outputs] == [True, False, True, False]
    for name, values in expected(images).items():
        close(result.as_numpy(name), values)


@pytest.mark.parametrize("version", ["", "1"])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_encoded_pictures_and_their_pixels_give_the_same_outputs(
    client: triton.InferenceServerClient, version: str, shape: tuple[int, ...]
) -> None:
    images = pictures(3, seed=1)
    result = client.infer("tiny", [tensor("encoded", files(images).reshape(shape))], version)
    for name, values in expected(images).items():
        close(result.as_numpy(name), values)


@pytest.mark.parametrize(
    ("asked", "alpha"), [(None, BALANCED), (0, 0.0), (0.75, 0.75), (-1, -1.0), ("tail", 2.0), ("1e-1", 0.1)]
)
def test_alpha_is_a_number_or_an_operating_point(
    client: triton.InferenceServerClient, asked: float | str | None, alpha: float
) -> None:
    images = pictures(2)
    parameters = None if asked is None else {"alpha": asked}
    result = client.infer("tiny", [tensor("images", images)], parameters=parameters)
    for name, values in expected(images, alpha).items():
        close(result.as_numpy(name), values)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_each_picture_may_have_its_own_alpha(
    client: triton.InferenceServerClient, binary: bool, shape: tuple[int, ...]
) -> None:
    images = pictures(3)
    alphas = [0.0, 1.5, -2.0]
    alpha = tensor("alpha", np.float32(alphas).reshape(shape), binary=binary)
    result = client.infer("tiny", [tensor("images", images), alpha])
    for name, values in expected(images, alphas).items():
        close(result.as_numpy(name), values)


def test_a_prior_is_added_as_classify_adds_it(client: triton.InferenceServerClient, address: str) -> None:
    images = pictures(1)
    result = client.infer("tiny", [tensor("encoded", files(images))], parameters={"prior": "uniform", "alpha": 0})
    query = {"alpha": "0", "prior": "uniform", "top_k": "5"}
    url = f"http://{address}/v1/models/tiny/classify"
    answer = httpx.post(url, content=png(images[0]), params=query, headers={"Content-Type": "image/png"}).json()
    classes = answer["results"][0]["predictions"][0]["classes"]
    for each in classes:
        close(result.as_numpy("probabilities")[0, each["index"]], each["probability"])
        close(result.as_numpy("tde_logits")[0, each["index"]], each["logit"])
    close(result.as_numpy("logits"), expected(images)["logits"])


def test_an_exempt_class_keeps_its_probability(client: triton.InferenceServerClient) -> None:
    asked = [tensor("images", pictures(4))]
    plain, tail = (client.infer("exempt", asked, parameters={"alpha": alpha}) for alpha in (0, "tail"))
    close(tail.as_numpy("probabilities")[:, 0], plain.as_numpy("probabilities")[:, 0])
    close(tail.as_numpy("probabilities").sum(axis=1), 1)
    assert np.abs(tail.as_numpy("probabilities") - plain.as_numpy("probabilities")).max() > 0.01


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("name", ["logits", "tde_logits", "probabilities"])
def test_classification_names_the_best_classes(client: triton.InferenceServerClient, binary: bool, name: str) -> None:
    images = pictures(3)
    wanted = [triton.InferRequestedOutput(name, binary_data=binary, class_count=2)]
    result = client.infer("tiny", [tensor("images", images)], outputs=wanted)
    output = result.get_output(name)
    assert (output["datatype"], output["shape"]) == ("BYTES", [3, 2])
    values = expected(images)[name]
    for row, texts in enumerate(result.as_numpy(name)):
        best = np.argsort(-values[row])[:2]
        for text, index in zip(texts, best, strict=True):
            value, number, label = (text.decode() if binary else text).split(":")
            assert (int(number), label) == (index, f"class {index}")
            close(float(value), values[row, index])


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_requests_and_answers_may_be_compressed(client: triton.InferenceServerClient, encoding: str) -> None:
    images = pictures(40)
    result = client.infer(
        "tiny",
        [tensor("images", images)],
        request_compression_algorithm=encoding,
        response_compression_algorithm=encoding,
    )
    for name, values in expected(images).items():
        close(result.as_numpy(name), values)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_only_infer_answers_are_compressed_and_only_on_request(address: str, encoding: str) -> None:
    with httpx.Client(base_url=f"http://{address}", headers={"Accept-Encoding": encoding}) as asking:
        request = {"inputs": [{"name": "images", "datatype": "UINT8", "shape": [40, 8, 8, 3]}]}
        request["inputs"][0]["data"] = pictures(40).ravel().tolist()
        good = asking.post(INFER, json=request)
        wrong = asking.post(INFER, json={"inputs": []})
        others = [asking.get(f"/v2/models/tiny{part}") for part in ("", "/config", "/stats", "/nothing")]
        plain = asking.post(INFER, json=request, headers={"Accept-Encoding": "identity"})
    assert good.headers["Content-Encoding"] == encoding
    assert good.json() == plain.json()
    assert not [each for each in (wrong, plain, *others) if "Content-Encoding" in each.headers]


@pytest.mark.parametrize("make", [png, lambda pixels: pixels.tobytes()], ids=["file", "pixels"])
def test_with_a_json_length_of_0_the_body_is_one_picture(address: str, make: object) -> None:
    images = pictures(1)
    assert callable(make)
    answer = httpx.post(f"http://{address}{INFER}", content=make(images[0]), headers={HEADER: "0"})
    assert answer.headers["Content-Type"] == "application/octet-stream"
    length = int(answer.headers[HEADER])
    result = triton.InferenceServerClient.parse_response_body(answer.content, header_length=length)
    for name, values in expected(images).items():
        close(result.as_numpy(name), values)


@pytest.mark.parametrize("path", [INFER, "/v2/models/tiny/versions/1/infer"])
def test_the_examples_of_the_documentation_page_work(address: str, path: str) -> None:
    paths = httpx.get(f"http://{address}/openapi.json").json()["paths"]
    template = path.replace("tiny", "{model}").replace("versions/1", "versions/{version}")
    examples = paths[template]["post"]["requestBody"]["content"]["application/json"]["examples"]
    answers = [httpx.post(f"http://{address}{path}", json=each["value"]) for each in examples.values()]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert answers[0].json()["outputs"][0]["shape"] == [1, 3]


def test_concurrent_requests_get_the_answers_for_their_own_alpha(client: triton.InferenceServerClient) -> None:
    images = pictures(32, seed=3)
    pending = [
        client.async_infer(
            "tiny", [tensor("images", images[i : i + 1])], request_id=str(i), parameters={"alpha": i / 8}
        )
        for i in range(32)
    ]
    for i, each in enumerate(pending):
        result = each.get_result()
        assert result.get_response()["id"] == str(i)
        close(result.as_numpy("tde_logits"), expected(images[i : i + 1], i / 8)["tde_logits"])


def test_statistics_count_requests_images_and_batches(client: triton.InferenceServerClient) -> None:
    def stats() -> dict[str, int]:
        (statistics,) = client.get_inference_statistics("exempt", "1")["model_stats"]
        counts = {name: pair["count"] for name, pair in statistics["inference_stats"].items()}
        return counts | {"images": statistics["inference_count"], "batches": statistics["execution_count"]}

    before = stats()
    client.infer("exempt", [tensor("images", pictures(3, seed=9))])
    with pytest.raises(InferenceServerException):
        client.infer("exempt", [tensor("images", pictures(3, seed=9)[:, :7].copy())])
    while (now := stats())["images"] < before["images"] + 3:  # the thread counts a batch after it has answered it
        pass
    gained = {name: count - before[name] for name, count in now.items()}
    assert (gained["success"], gained["fail"], gained["images"], gained["queue"]) == (1, 1, 3, 3)
    assert 1 <= gained["batches"] <= 3
    assert [gained[f"compute_{stage}"] for stage in ("input", "infer", "output")] == [3, 3, 3]
    everything = client.get_inference_statistics()["model_stats"]
    assert [each["name"] for each in everything] == ["exempt", "tiny"]
    assert everything[0]["last_inference"] > 0
    assert everything[0]["batch_stats"]
    assert client.get_inference_statistics("tiny")["model_stats"][0]["name"] == "tiny"


def test_models_are_listed_unloaded_and_loaded_again(client: triton.InferenceServerClient) -> None:
    def states() -> dict[str, str]:
        return {each["name"]: each["state"] for each in client.get_model_repository_index()}

    assert states() == {"exempt": "READY", "tiny": "READY"}
    client.unload_model("exempt")
    assert (client.is_model_ready("exempt"), client.is_server_ready(), states()["exempt"]) == (
        False, True, "UNAVAILABLE",
    )  # fmt: skip
    client.load_model("exempt")
    assert (client.is_model_ready("exempt"), states()["exempt"]) == (True, "READY")
    with pytest.raises(InferenceServerException, match=r"\[404\].*unknown"):
        client.load_model("unknown")
    with pytest.raises(InferenceServerException, match=r"\[404\].*unknown"):
        client.unload_model("unknown")
    with pytest.raises(InferenceServerException, match=r"\[501\] models are loaded unchanged"):
        client.load_model("tiny", config="{}")


def test_unsupported_extensions_are_answered_with_501(client: triton.InferenceServerClient) -> None:
    calls = [
        client.get_system_shared_memory_status,
        partial(client.register_system_shared_memory, "a", "/b", 1),
        client.unregister_system_shared_memory,
        client.get_cuda_shared_memory_status,
        client.get_trace_settings,
        partial(client.get_trace_settings, "tiny"),
        partial(client.update_trace_settings, "tiny", {}),
        client.get_log_settings,
        partial(client.update_log_settings, {}),
    ]
    for call in calls:
        with pytest.raises(InferenceServerException, match=r"\[501\] the extension '\w+' is not supported"):
            call()
    shared = triton.InferInput("images", [1, 8, 8, 3], "UINT8")
    shared.set_shared_memory("region", 192)
    with pytest.raises(InferenceServerException, match=r"\[501\] input 'images': shared memory is not supported"):
        client.infer("tiny", [shared])
    for options in ({"sequence_id": 5, "sequence_start": True}, {"priority": 1}):
        with pytest.raises(InferenceServerException, match=r"\[501\] parameter .* neither sequences nor priorities"):
            client.infer("tiny", [tensor("images", pictures(1))], **options)


def test_error_messages_reach_the_client(client: triton.InferenceServerClient) -> None:
    broken = np.array([png(pictures(1)[0]), b"GIF89a" + bytes(9)], np.object_)
    with pytest.raises(InferenceServerException, match=r"\[415\] input 'encoded', element 1: the image is a GIF file"):
        client.infer("tiny", [tensor("encoded", broken)])
    with pytest.raises(InferenceServerException, match=r"\[404\] there is no model 'unknown'; there are: exempt, tiny"):
        client.infer("unknown", [tensor("images", pictures(1))])
    with pytest.raises(InferenceServerException, match=r"\[404\] version 2 of tiny is not in service"):
        client.get_model_metadata("tiny", "2")


def test_a_request_may_have_a_timeout(client: triton.InferenceServerClient) -> None:
    asked = [tensor("encoded", files(pictures(64, seed=8)))]
    assert client.infer("tiny", asked, timeout=60_000_000).as_numpy("logits").shape == (64, 5)
    asked = [tensor("encoded", files(pictures(64, seed=7)))]
    with pytest.raises(InferenceServerException, match=r"\[504\] not answered within the timeout of 1 microsecond"):
        client.infer("tiny", asked, timeout=1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_the_asynchronous_client_sees_the_same_server(address: str) -> None:
    images = pictures(40)
    async with triton_aio.InferenceServerClient(address) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("tiny")
        assert not await client.is_model_ready("tiny", "3")
        assert (await client.get_server_metadata())["name"] == "longtail"
        assert (await client.get_model_metadata("tiny"))["name"] == "tiny"
        assert (await client.get_model_config("tiny", "1"))["name"] == "tiny"
        assert (await client.get_inference_statistics())["model_stats"]
        assert {"READY"} == {each["state"] for each in await client.get_model_repository_index()}
        await client.load_model("tiny")
        with pytest.raises(InferenceServerException, match=r"\[501\] the extension 'logging' is not supported"):
            await client.get_log_settings()
        with pytest.raises(InferenceServerException, match=r"\[422\] a request must have exactly one"):
            await client.infer("tiny", [])
        for encoding in (None, "gzip", "deflate"):
            result = await client.infer(
                "tiny",
                [tensor("images", images)],
                request_compression_algorithm=encoding,
                response_compression_algorithm=encoding,
            )
            for name, values in expected(images).items():
                close(result.as_numpy(name), values)
