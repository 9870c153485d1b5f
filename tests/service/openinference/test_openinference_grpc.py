"""Triton's gRPC clients, unmodified, against a real server: the same answers as over REST."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from models.bundle import Bundle
from service.app import create_app
from service.openinference.rpc import start
from service.settings import Settings, SettingsError
from tests.service.openinference.serving import OUTPUTS, TOLERANCE, expected, files, pictures, png, serving
from tests.service.server.test_process import ROOT, command, free_port, server
from tests.test_architecture import imported_by

close = partial(np.testing.assert_allclose, rtol=0, atol=TOLERANCE)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    with serving(tmp_path_factory.mktemp("grpc"), "--grpc-port", str(port), "--max-body-mb", "1"):
        yield f"127.0.0.1:{port}"


@pytest.fixture
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with closing(triton.InferenceServerClient(address)) as made:
        yield made


@pytest.fixture
def stub(address: str) -> Iterator[Any]:
    """A stub, which can send messages that Triton's client would not."""
    with grpc.insecure_channel(address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def tensor(name: str, values: np.ndarray[Any, Any], module: Any = triton) -> triton.InferInput:
    datatypes = {"images": "UINT8", "encoded": "BYTES", "alpha": "FP32"}
    made = module.InferInput(name, list(values.shape), datatypes[name])
    made.set_data_from_numpy(values)
    return made


def test_the_server_and_its_models_report_whether_they_are_live_and_ready(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    models = [("tiny", ""), ("tiny", "1"), ("tiny", "2"), ("tiny", "one"), ("unknown", "")]
    assert [client.is_model_ready(*model) for model in models] == [True, True, False, False, False]


def test_server_and_models_describe_themselves(client: triton.InferenceServerClient) -> None:
    assert "statistics" in client.get_server_metadata().extensions
    metadata = client.get_model_metadata("tiny")
    config = client.get_model_config("tiny", "1").config
    assert {each.name: list(each.shape) for each in metadata.inputs} == {
        "images": [-1, 8, 8, 3], "encoded": [-1, 1], "alpha": [-1, 1],
    }  # fmt: skip
    assert [each.name for each in config.output] == [each.name for each in metadata.outputs] == OUTPUTS
    assert (config.max_batch_size, config.parameters["alpha.tail"].string_value) == (64, "2.0")
    assert (config.input[0].data_type, config.instance_group[0].kind) == (2, 2)  # TYPE_UINT8, KIND_CPU


def test_pixels_and_encoded_pictures_give_the_same_outputs(client: triton.InferenceServerClient) -> None:
    images = pictures(3)
    for given in (tensor("images", images), tensor("encoded", files(images))):
        result = client.infer("tiny", [given], request_id="9")
        assert (result.get_response().id, result.get_response().model_version) == ("9", "1")
        assert [each.name for each in result.get_response().outputs] == OUTPUTS
        for name, values in expected(images).items():
            close(result.as_numpy(name), values)


@pytest.mark.parametrize(("asked", "alpha"), [(0, 0.0), (0.75, 0.75), ("tail", 2.0)])
def test_alpha_is_a_parameter_or_an_input(
    client: triton.InferenceServerClient, asked: float | str, alpha: float
) -> None:
    images = pictures(2)
    parameter = client.infer("tiny", [tensor("images", images)], parameters={"alpha": asked})
    each = client.infer("tiny", [tensor("images", images), tensor("alpha", np.full(2, alpha, np.float32))])
    for name, values in expected(images, alpha).items():
        close(parameter.as_numpy(name), values)
        close(each.as_numpy(name), values)


def test_outputs_have_the_requested_order_and_form(client: triton.InferenceServerClient) -> None:
    images = pictures(2)
    wanted = [triton.InferRequestedOutput("probabilities", class_count=2), triton.InferRequestedOutput("head_cosine")]
    result = client.infer("tiny", [tensor("images", images)], outputs=wanted)
    assert [each.name for each in result.get_response().outputs] == ["probabilities", "head_cosine"]
    best = [text.decode().split(":")[2] for text in result.as_numpy("probabilities")[:, 0]]
    assert best == [f"class {index}" for index in expected(images)["probabilities"].argmax(axis=1)]
    close(result.as_numpy("head_cosine"), expected(images)["head_cosine"])


def test_elements_may_be_separate_values_of_the_message(stub: Any) -> None:
    images = pictures(1)
    request = service_pb2.ModelInferRequest(model_name="tiny")
    contents = service_pb2.InferTensorContents
    pixels = contents(uint_contents=images.ravel().tolist())
    request.inputs.add(name="images", datatype="UINT8", shape=images.shape, contents=pixels)
    request.inputs.add(name="alpha", datatype="FP32", shape=[1], contents=contents(fp32_contents=[0.5]))
    by_pixels = stub.ModelInfer(request)
    del request.inputs[0]
    file = contents(bytes_contents=[png(images[0])])
    request.inputs.add(name="encoded", datatype="BYTES", shape=[1], contents=file)
    by_file = stub.ModelInfer(request)
    for answer in (by_pixels, by_file):
        close(np.frombuffer(answer.raw_output_contents[2], np.float32), expected(images, 0.5)["tde_logits"][0])


def test_what_a_message_has_besides_is_refused(stub: Any) -> None:
    images = pictures(1)
    request = service_pb2.ModelInferRequest(model_name="tiny")
    contents = service_pb2.InferTensorContents(uint_contents=images.ravel().tolist(), fp32_contents=[0.5])
    request.inputs.add(name="images", datatype="UINT8", shape=images.shape, contents=contents)
    signed = service_pb2.ModelInferRequest(model_name="tiny")
    contents = service_pb2.InferTensorContents(int_contents=images.ravel().tolist())
    signed.inputs.add(name="images", datatype="UINT8", shape=images.shape, contents=contents)
    misspelt = service_pb2.ModelInferRequest(model_name="tiny")
    misspelt.parameters["alfa"].double_param = 0
    unload = service_pb2.RepositoryModelUnloadRequest(model_name="none")
    unload.parameters["force"].bool_param = True
    load = service_pb2.RepositoryModelLoadRequest(model_name="tiny", repository_name="other")
    index = service_pb2.RepositoryIndexRequest(repository_name="other")
    for call, message, code, words in [
        (stub.ModelInfer, request, "INVALID_ARGUMENT", "is UINT8: send uint_contents and no other contents"),
        (stub.ModelInfer, signed, "INVALID_ARGUMENT", "is UINT8: send uint_contents and no other contents"),
        (stub.ModelInfer, misspelt, "INVALID_ARGUMENT", "unknown parameter 'alfa'; did you mean 'alpha'?"),
        (stub.RepositoryModelUnload, unload, "INVALID_ARGUMENT", "unknown parameter 'force'"),
        (stub.RepositoryModelLoad, load, "UNIMPLEMENTED", "repository_name 'other': there is one repository"),
        (stub.RepositoryIndex, index, "UNIMPLEMENTED", "repository_name 'other': there is one repository"),
    ]:
        with pytest.raises(grpc.RpcError) as refused:
            call(message)
        assert refused.value.code().name == code
        assert words in refused.value.details()


def test_statistics_and_loading_and_unloading_models(client: triton.InferenceServerClient) -> None:
    client.infer("exempt", [tensor("images", pictures(2))])
    (statistics,) = client.get_inference_statistics("exempt", "1").model_stats
    assert statistics.inference_stats.success.count == 1
    assert [each.name for each in client.get_inference_statistics().model_stats] == ["exempt", "tiny"]
    client.unload_model("exempt")
    assert not client.is_model_ready("exempt")
    states = {each.name: each.state for each in client.get_model_repository_index().models}
    assert states == {"exempt": "UNAVAILABLE", "tiny": "READY"}
    client.load_model("exempt")
    assert client.is_model_ready("exempt")
    with pytest.raises(InferenceServerException, match=r"UNIMPLEMENTED.*unchanged from the models folder"):
        client.load_model("tiny", config="{}")


def test_errors_have_a_message_and_a_grpc_status_code(client: triton.InferenceServerClient, stub: Any) -> None:
    broken = np.array([b"hello"], np.object_)
    with pytest.raises(InferenceServerException, match=r"INVALID_ARGUMENT.*element 0: these bytes are not an image"):
        client.infer("tiny", [tensor("encoded", broken)])
    with pytest.raises(InferenceServerException, match=r"NOT_FOUND.*there is no model 'unknown'"):
        client.infer("unknown", [tensor("images", pictures(1))])
    with pytest.raises(InferenceServerException, match=r"INVALID_ARGUMENT.*unknown parameter 'alfa'"):
        client.infer("tiny", [tensor("images", pictures(1))], parameters={"alfa": 1})
    with pytest.raises(InferenceServerException, match=r"DEADLINE_EXCEEDED.*not answered within the timeout"):
        client.infer("tiny", [tensor("encoded", files(pictures(64, seed=5)))], timeout=1)
    with pytest.raises(InferenceServerException, match="RESOURCE_EXHAUSTED"):
        client.infer("tiny", [tensor("images", np.zeros((6000, 8, 8, 3), np.uint8))])
    request = service_pb2.ModelInferRequest(model_name="tiny", raw_input_contents=[b"x"])
    request.inputs.add(name="images", datatype="UINT8", shape=[1, 8, 8, 3])
    with pytest.raises(grpc.RpcError, match="needs 192 bytes, not 1"):
        stub.ModelInfer(request)
    request.inputs[0].shape[0] = -5
    with pytest.raises(grpc.RpcError, match="a whole number of at least 1"):
        stub.ModelInfer(request)
    request.parameters["alpha"].SetInParent()
    with pytest.raises(grpc.RpcError, match="'alpha' has no value"):
        stub.ModelInfer(request)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_request_may_be_compressed_and_decompression_stops_at_the_limit(
    client: triton.InferenceServerClient, algorithm: str
) -> None:
    images = pictures(3)
    result = client.infer("tiny", [tensor("images", images)], compression_algorithm=algorithm)
    close(result.as_numpy("logits"), expected(images)["logits"])
    bomb = np.zeros((200_000, 8, 8, 3), np.uint8)
    with pytest.raises(InferenceServerException, match=r"RESOURCE_EXHAUSTED.*larger than max"):
        client.infer("tiny", [tensor("images", bomb)], compression_algorithm=algorithm)
    assert client.is_server_live()


def test_unsupported_methods_are_unimplemented(client: triton.InferenceServerClient) -> None:
    calls = [
        client.get_system_shared_memory_status,
        client.get_cuda_shared_memory_status,
        client.get_trace_settings,
        client.get_log_settings,
    ]
    for call in calls:
        with pytest.raises(InferenceServerException, match="UNIMPLEMENTED"):
            call()
    answers: Queue[Any] = Queue()
    client.start_stream(callback=lambda result, error: answers.put(error or result))
    assert "UNIMPLEMENTED" in str(answers.get(timeout=60))
    client.stop_stream()


def test_a_taken_port_is_an_error_with_a_message(tiny_bundle: Bundle, address: str) -> None:
    flags = ("--port", "0", "--grpc-port", address.rpartition(":")[2])
    done = subprocess.run(command(tiny_bundle, *flags), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"error: gRPC cannot listen on {address}: address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_accepted_work_is_answered_when_the_server_is_stopped(tiny_bundle: Bundle) -> None:
    port = free_port()
    slow = np.array([png(np.full((2500, 2500, 3), shade, np.uint8)) for shade in range(8)], np.object_)
    with server(tiny_bundle, "--grpc-port", str(port)) as (process, url):
        client = triton.InferenceServerClient(f"127.0.0.1:{port}")
        answers: Queue[Any] = Queue()
        client.async_infer(
            "tiny", [tensor("encoded", slow)], callback=lambda result, error: answers.put(error or result)
        )
        while "longtail_pending_images 8.0" not in httpx.get(f"{url}/metrics").text:
            assert answers.empty(), "answered too early; use larger pictures"
        process.send_signal(signal.SIGTERM)
        assert answers.get(timeout=60).as_numpy("logits").shape == (8, 5)
        client.close()
        assert process.wait(timeout=60) == 0


def test_without_a_port_neither_grpcio_nor_protobuf_is_imported() -> None:
    assert not imported_by("service.app") & {"grpc", "google"}


def test_a_port_without_grpcio_is_refused_with_a_message_that_helps(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"\(--grpc-port\) needs grpcio: run `uv sync --group grpc`"):
        create_app(Settings(models=tiny_bundle.path.parent.parent, grpc_port=1))


@pytest.mark.anyio
async def test_the_asynchronous_client_sees_the_same_server(address: str) -> None:
    images = pictures(32)
    async with triton_aio.InferenceServerClient(address) as client:
        assert await client.is_server_ready()
        for i in range(32):
            result = await client.infer(
                "tiny", [tensor("images", images[i : i + 1], triton_aio)], parameters={"alpha": i / 8}
            )
            close(result.as_numpy("tde_logits"), expected(images[i : i + 1], i / 8)["tde_logits"])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_messages_beyond_the_body_budget_are_refused(tmp_path: Path) -> None:
    port = free_port()
    small = tensor("encoded", np.array([png(pictures(1)[0])], np.object_))
    large = tensor("encoded", np.array([b"x" * 3000], np.object_))
    with (
        serving(tmp_path, "--grpc-port", str(port), "--max-pending-mb", "0.002"),
        closing(triton.InferenceServerClient(f"127.0.0.1:{port}")) as client,
    ):
        with pytest.raises(InferenceServerException, match="MB of requests are in memory") as refused:
            client.infer("tiny", [large])
        assert client.infer("tiny", [small]).as_numpy("probabilities").shape == (1, 5)
    assert refused.value.status() == "StatusCode.UNAVAILABLE"
