"""NVIDIA's perf_analyzer, with the command and the data file of the documents."""

import re
import shlex
import subprocess

import httpx
import pytest

from tests.clients.conftest import Address
from tests.clients.environments import ROOT, newer_libc, python_environment

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]
PAGE = ROOT / "docs" / "how-to" / "triton-clients.md"
COMMANDS = re.findall(r"^perf_analyzer (.+)$", PAGE.read_text(), re.MULTILINE)
PROGRAM = "lib/python*/site-packages/perf_analyzer/bin/perf_analyzer"


def perf_analyzer(address: Address, arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it with these arguments against the server, whose address stands in place of the documents'."""
    loader = newer_libc("2.38")
    (program,) = python_environment("perf-analyzer", glibc="2.39").glob(PROGRAM)
    words = shlex.split(arguments.replace("127.0.0.1:8000", address.http).replace("127.0.0.1:8001", address.grpc))
    return subprocess.run(
        [*loader, program, *words], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("arguments", COMMANDS, ids=["REST", "gRPC"])
@pytest.mark.parametrize(
    "more", ["", "-b 3 --concurrency-range 4 --async"], ids=["one picture at a time", "batches, many at a time"]
)
def test_the_documents_command_measures_this_server(address: Address, arguments: str, more: str) -> None:
    done = perf_analyzer(address, f"{arguments} {more}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Request count: 200" in done.stdout
    # perf_analyzer reads the server's counts while its last requests are still in flight.
    pictures, in_flight = (600, 4 * 3) if more else (200, 0)
    counts = {name: int(count) for name, count in re.findall(r"(Cache \w+ count|Inference count): (\d+)", done.stdout)}
    assert counts["Cache hit count"] + counts["Cache miss count"] == pytest.approx(pictures, abs=in_flight)
    assert counts["Inference count"] <= counts["Cache miss count"] <= 3


def test_alpha_is_a_request_parameter_over_grpc(address: Address) -> None:
    refused = perf_analyzer(address, f"{COMMANDS[1]} --request-parameter alhpa:tail:string")
    taken = perf_analyzer(address, f"{COMMANDS[1]} --request-parameter alpha:tail:string")
    assert (refused.returncode, taken.returncode) == (99, 0)
    assert "unknown parameter 'alhpa'; did you mean 'alpha'?" in refused.stdout + refused.stderr


def test_the_data_file_has_the_pictures_that_it_should(address: Address) -> None:
    before = httpx.get(f"http://{address.http}/v2/models/cifar10-lt/stats").json()["model_stats"][0]["inference_count"]
    files = [(ROOT / "tests" / "images" / f"{name}.webp").read_bytes() for name in ("cat", "ship", "truck")]
    url = f"http://{address.http}/v1/models/cifar10-lt/classify"
    perf_analyzer(address, COMMANDS[0])
    results = httpx.post(url, files=[("files", (str(i), file)) for i, file in enumerate(files)]).json()["results"]
    after = httpx.get(f"http://{address.http}/v2/models/cifar10-lt/stats").json()["model_stats"][0]["inference_count"]
    assert len(results) == 3
    assert after - before <= 3  # classify found in the cache what perf_analyzer had sent
