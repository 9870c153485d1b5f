"""Clients of other servers, unchanged: each gets from this server what `classify` gives, in every form that it has."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.clients.conftest import Address
from tests.clients.environments import python_environment

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]
PROGRAMS = Path(__file__).parent / "programs"
TOLERANCE = 1e-4  # the network runs other batches than for `classify`
Probabilities = dict[float | str, list[list[float]]]


@pytest.mark.parametrize(
    ("environment", "program", "forms"),
    [
        ("kserve", "kserve_sdk.py", 19),
        ("mlserver", "mlserver_types.py", 23),
        ("pytriton", "pytriton_client.py", 16),
        ("open-inference", "generated_clients.py", 8),
    ],
)
def test_a_client_gets_the_same_probabilities_as_classify(
    address: Address, pictures: Path, probabilities: Probabilities, environment: str, program: str, forms: int
) -> None:
    python = python_environment(environment) / "bin" / "python"
    command = [python, PROGRAMS / program, address.http, address.grpc, pictures]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    tried = json.loads(done.stdout.splitlines()[-1])
    assert len({what for what, _, _ in tried}) == len(tried) == forms
    for what, alpha, found in tried:
        np.testing.assert_allclose(found, probabilities[alpha], rtol=0, atol=TOLERANCE, err_msg=what)
    assert not np.allclose(probabilities[0], probabilities["balanced"], atol=0.01)  # else alpha shows nothing


def test_mlserver_infer_works_through_a_file_of_requests(
    address: Address, pictures: Path, probabilities: Probabilities, tmp_path: Path
) -> None:
    pixels = json.loads((pictures / "pixels.json").read_text())
    requests = [
        {
            "id": str(index),
            "inputs": [
                {"name": "images", "shape": [1, 32, 32, 3], "datatype": "UINT8", "data": [each]},
                {"name": "alpha", "shape": [1, 1], "datatype": "FP32", "data": [0.5]},
            ],
            "outputs": [{"name": "probabilities"}],
        }
        for index, each in enumerate(pixels)
    ]
    given = tmp_path / "requests.jsonl"
    given.write_text("".join(f"{json.dumps(request)}\n" for request in requests))
    mlserver = python_environment("mlserver") / "bin" / "mlserver"
    for flags in ([], ["--binary-data"]):
        answers = tmp_path / "answers.jsonl"
        files = ["-i", given, "-o", answers, "-s", "2"]
        command = [mlserver, "infer", "-u", address.http, "-m", "cifar10-lt", *files, *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        found = {each["id"]: each["outputs"][0]["data"] for each in map(json.loads, answers.read_text().splitlines())}
        both = [found[str(index)] for index in range(2)]
        np.testing.assert_allclose(both, probabilities[0.5], rtol=0, atol=TOLERANCE, err_msg=str(flags))
