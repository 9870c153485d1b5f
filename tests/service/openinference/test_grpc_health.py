"""The standard services beside the protocol's: health, which follows the server's readiness, and reflection."""

import signal
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import grpc
import httpx
import pytest
import tritonclient.grpc as triton
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from models.bundle import load_bundle
from service.keys import new_key
from service.openinference.rpc.messages import SERVICE
from service.openinference.rpc.streams import MAX_STREAMS
from tests.service.openinference.serving import serving
from tests.service.server.test_process import free_port, server
from tests.tiny_bundle import write_tiny_bundle

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING
HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Where a server listens: HTTP and gRPC."""
    port = free_port()
    with serving(tmp_path_factory.mktemp("health"), "--grpc-port", str(port)) as http:
        yield http, f"127.0.0.1:{port}"


@pytest.fixture
def channel(addresses: tuple[str, str]) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(addresses[1]) as made:
        yield made


def check(channel: grpc.Channel, name: str) -> int:
    status: int = health_pb2_grpc.HealthStub(channel).Check(HealthCheckRequest(service=name)).status
    return status


def collect(answers: Any) -> Queue[Any]:
    """The statuses of a watch as they come, and at its end None, or its error."""
    found: Queue[Any] = Queue()

    def read() -> None:
        try:
            for answer in answers:
                found.put(answer.status)
            found.put(None)
        except grpc.RpcError as error:
            found.put(error)

    Thread(target=read, daemon=True).start()
    return found


@pytest.mark.parametrize("name", ["", SERVICE, "liveness"])
def test_the_server_and_its_service_are_serving(channel: grpc.Channel, name: str) -> None:
    assert check(channel, name) == SERVING


@pytest.mark.parametrize("name", ["other", "inference", SERVICE.lower(), f"{SERVICE} ", "x" * 10_000])
def test_an_unknown_service_is_not_found(channel: grpc.Channel, name: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        check(channel, name)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    assert f"there are: '' and '{SERVICE}' and 'liveness'" in refused.value.details()
    watched = collect(health_pb2_grpc.HealthStub(channel).Watch(HealthCheckRequest(service=name)))
    assert watched.get(timeout=60) == HealthCheckResponse.SERVICE_UNKNOWN


def test_without_a_model_in_service_the_health_is_not_serving_and_watchers_are_told(
    addresses: tuple[str, str], channel: grpc.Channel
) -> None:
    http, address = addresses
    watched = collect(health_pb2_grpc.HealthStub(channel).Watch(HealthCheckRequest(service=SERVICE)))
    assert watched.get(timeout=60) == SERVING
    client = triton.InferenceServerClient(address)
    for name in ("tiny", "exempt"):
        client.unload_model(name)
    assert watched.get(timeout=60) == NOT_SERVING
    assert [check(channel, name) for name in ("", SERVICE, "liveness")] == [NOT_SERVING, NOT_SERVING, SERVING]
    assert httpx.get(f"http://{http}/readyz").status_code == 503
    for name in ("tiny", "exempt"):
        client.load_model(name)
    assert watched.get(timeout=60) == SERVING
    assert check(channel, "") == SERVING
    client.close()


@pytest.mark.slow
def test_a_draining_server_is_not_serving_and_ends_with_its_watchers(tmp_path: Path) -> None:
    port = free_port()
    flags = ("--grpc-port", str(port), "--grace-seconds", "3", "--drain-seconds", "100")
    with server(load_bundle(write_tiny_bundle(tmp_path)), *flags) as (process, url):
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        reflecting = Queue[Any]()
        asked = channel.stream_stream(f"/{REFLECTION}/ServerReflectionInfo")(iter(reflecting.get, None))
        watched = collect(health_pb2_grpc.HealthStub(channel).Watch(HealthCheckRequest()))
        assert watched.get(timeout=60) == SERVING
        process.send_signal(signal.SIGTERM)
        assert watched.get(timeout=60) == NOT_SERVING
        assert [check(channel, name) for name in ("", "liveness")] == [NOT_SERVING, SERVING]
        assert httpx.get(f"{url}/readyz").status_code == 503
        assert watched.get(timeout=60) is None
        assert process.wait(timeout=60) == 0  # an idle watcher and an idle reflection client do not hold it up
        asked.cancel()
        reflecting.put(None)
        channel.close()


def test_keys_are_asked_for_as_little_as_by_the_http_probes(tmp_path: Path) -> None:
    port = free_port()
    keys = tmp_path / "keys"
    keys.write_text(new_key("some", ["predict"])[1])
    flags = ("--grpc-port", str(port), "--api-keys-file", str(keys))
    running = server(load_bundle(write_tiny_bundle(tmp_path / "models")), *flags)
    with running as (_, url), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert [httpx.get(f"{url}/v2/{path}").status_code for path in ("health/ready", "models")] == [200, 401]
        assert check(channel, SERVICE) == SERVING
        assert SERVICE in ProtoReflectionDescriptorDatabase(channel).get_services()
        with pytest.raises(triton.InferenceServerException, match="UNAUTHENTICATED"):
            triton.InferenceServerClient(f"127.0.0.1:{port}").get_model_metadata("tiny")


def test_reflection_describes_all_services_well_enough_to_call_them(channel: grpc.Channel) -> None:
    described = ProtoReflectionDescriptorDatabase(channel)
    assert list(described.get_services()) == [HEALTH, REFLECTION, SERVICE]
    pool = DescriptorPool(described)
    for service in (HEALTH, REFLECTION, SERVICE):
        assert pool.FindServiceByName(service).full_name == service
    method = pool.FindServiceByName(SERVICE).FindMethodByName("ModelMetadata")
    request = GetMessageClass(method.input_type)(name="tiny")
    call = channel.unary_unary(
        f"/{SERVICE}/{method.name}",
        type(request).SerializeToString,
        GetMessageClass(method.output_type).FromString,
    )
    assert [each.name for each in call(request).inputs] == ["images", "encoded", "alpha"]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_both_versions_of_reflection_answer(channel: grpc.Channel, version: str) -> None:
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"{SERVICE}.ModelInfer"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="none.proto"),
        reflection_pb2.ServerReflectionRequest(),
    ]
    ask = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    kinds = [answer.WhichOneof("message_response") for answer in ask(iter(requests))]
    assert kinds == ["list_services_response", "file_descriptor_response", "error_response", "error_response"]


def test_watchers_are_bounded_and_take_no_place_from_other_calls(addresses: tuple[str, str]) -> None:
    with grpc.insecure_channel(addresses[1]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(HealthCheckRequest()) for _ in range(MAX_STREAMS)]
        assert [next(watch).status for watch in watches] == [SERVING] * MAX_STREAMS
        with pytest.raises(grpc.RpcError) as refused:
            next(stub.Watch(HealthCheckRequest()))
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert check(channel, "") == SERVING
        for watch in watches:
            watch.cancel()


def test_checks_are_counted_among_the_requests(addresses: tuple[str, str], channel: grpc.Channel) -> None:
    check(channel, "")
    metrics = httpx.get(f"http://{addresses[0]}/metrics").text
    assert f'route="/{HEALTH}/Check",status="200"' in metrics
