"""Keys with a real server: the official clients send them, and answers and log never contain them."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from models.bundle import Bundle
from service.keys import new_key
from tests.service.conftest import CLASSIFY, picture
from tests.service.openinference.serving import expected, pictures, serving, tensor
from tests.service.openinference.test_openinference_grpc import close
from tests.service.openinference.test_openinference_grpc import tensor as grpc_tensor
from tests.service.server.test_process import ROOT, command, free_port, run, server

KEYS = {name: new_key(name, [name]) for name in ("predict", "tune", "admin")}
LINES = "\n".join(line for _, line in KEYS.values())
PASSWORD = "c0rrect-h0rse"


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[name][0]}"}


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Return the REST and gRPC addresses of a server with a key file."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    port = free_port()
    file.write_text(LINES)
    flags = ("--grpc-port", str(port), "--api-keys-file", str(file))
    with serving(tmp_path_factory.mktemp("models"), *flags) as address:
        yield address, f"127.0.0.1:{port}"


@pytest.fixture
def stub(addresses: tuple[str, str]) -> Iterator[Any]:
    with grpc.insecure_channel(addresses[1]) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def test_the_official_http_client_works_with_a_key(addresses: tuple[str, str]) -> None:
    images = pictures(2)
    with closing(triton_http.InferenceServerClient(addresses[0])) as client:
        assert client.is_server_live()
        result = client.infer(
            "tiny", [tensor("images", images)], headers={"Authorization": f"Bearer {KEYS['predict'][0]}"}
        )
        close(result.as_numpy("logits"), expected(images)["logits"])
        with pytest.raises(InferenceServerException, match=r"\[401\] this request needs an API key"):
            client.infer("tiny", [tensor("images", images)])
        with pytest.raises(InferenceServerException, match=r"\[403\] .* scope admin"):
            client.load_model("tiny", headers=bearer("predict"))
        client.load_model("tiny", headers=bearer("admin"))


def test_the_official_grpc_client_works_with_a_key(addresses: tuple[str, str]) -> None:
    images = pictures(2)
    with closing(triton_grpc.InferenceServerClient(addresses[1])) as client:
        for headers in (bearer("predict"), {"x-api-key": KEYS["predict"][0]}):
            result = client.infer("tiny", [grpc_tensor("images", images)], headers=headers)
            close(result.as_numpy("logits"), expected(images)["logits"])
        with pytest.raises(InferenceServerException, match=r"UNAUTHENTICATED.*this request needs an API key"):
            client.infer("tiny", [grpc_tensor("images", images)])
        with pytest.raises(InferenceServerException, match=r"PERMISSION_DENIED.*the scope predict"):
            client.get_model_metadata("tiny", headers=bearer("tune"))
        client.load_model("tiny", headers=bearer("admin"))


def code_of(stub: Any, method: str, metadata: list[tuple[str, str]]) -> str:
    try:
        getattr(stub, method)(getattr(service_pb2, f"{method}Request")(), metadata=metadata)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_every_grpc_method_asks_for_its_scope(stub: Any) -> None:
    methods = ["ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig"]
    methods += ["ModelStatistics", "ModelInfer", "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"]
    for method in methods:
        need = "open" if method.startswith(("ServerL", "ServerR")) else "admin" if "oryModel" in method else "predict"
        refused = "OK" if need == "open" else "UNAUTHENTICATED"
        for metadata in ([], [("x-api-key", "x")], [("authorization", "Bearer ")], [("x-api-key-bin", b"\xff")]):
            assert code_of(stub, method, metadata) == refused, method
        for name, (key, _) in KEYS.items():
            denied = code_of(stub, method, [("x-api-key", key)]) == "PERMISSION_DENIED"
            assert denied == (need not in {"open", name}), method


def test_keys_and_passwords_are_in_no_answer_and_in_no_log(tiny_bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    secret = new_key("stranger", ["predict"])[0]
    file.write_text(LINES)
    database = f"postgresql://somebody:{PASSWORD}@127.0.0.1:1/nothing"  # no server listens on port 1
    flags = ("--log-level", "debug", "--api-keys-file", str(file), "--database", database)
    texts = []
    with server(tiny_bundle, *flags) as (process, url):
        for key in (secret, *(key for key, _ in KEYS.values())):
            for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}, {"Authorization": key}):
                with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
                    answers = [
                        client.get("/v1/models"),
                        client.post(CLASSIFY, content=picture(1), headers={"Content-Type": "image/png"}),
                        client.post(CLASSIFY, content=b"x"),
                        client.put(
                            "/v1/models/tiny/operating-points/x", json={"alpha": 1}
                        ),  # the database is unreachable
                        client.post("/v1/models/tiny/alpha/tune", json={"source": "feedback"}),
                        client.get("/metrics"),
                        client.get("/nothing"),
                    ]
                texts += [f"{answer.text} {answer.headers}" for answer in answers]
        process.send_signal(signal.SIGTERM)
        texts.append(process.communicate(timeout=60)[1])
    assert "database" in texts[-1]
    secrets = [secret, PASSWORD, *(key for key, _ in KEYS.values()), *(line[-64:] for _, line in KEYS.values())]
    assert not [text for text in texts for each in secrets if each in text]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LONGTAIL_DATABASE", f"postgresql://u:{PASSWORD}@h:port/x"),
        ("LONGTAIL_DATABASE", f"mysql://u:{PASSWORD}@h/x"),
        ("LONGTAIL_API_KEYS", PASSWORD),
        ("LONGTAIL_API_KEYS", f"{LINES}\nx:predict:{PASSWORD}"),
    ],
)
def test_a_secret_that_is_refused_at_start_is_not_repeated(variable: str, value: str) -> None:
    done = run("--check", **{variable: value})
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {variable}")
    assert PASSWORD not in done.stderr + done.stdout
    assert KEYS["admin"][1][-64:] not in done.stderr


def test_check_refuses_a_broken_key_file_with_one_message(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# mine\nweb:all:sha256=00")
    flags = ("--check", "--api-keys-file", str(tmp_path / "keys"))
    done = subprocess.run(command(tiny_bundle, *flags), cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1:] == [  # lines before it are about the models that are loaded meanwhile
        f"error: LONGTAIL_API_KEYS_FILE (--api-keys-file) is refused: {tmp_path / 'keys'}: line 2 needs one or more "
        "of the scopes predict, tune, admin, with commas between them"
    ]


@pytest.mark.slow
def test_every_process_of_a_server_asks_for_keys(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(LINES)
    with server(tiny_bundle, "--workers", "2", "--api-keys-file", str(tmp_path / "keys")) as (process, url):
        for _ in range(10):
            with httpx.Client(transport=httpx.HTTPTransport(retries=20), base_url=url, timeout=60) as client:
                assert client.get("/v1/models").status_code == 401
                assert client.get("/v1/models", headers=bearer("predict")).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
