"""More than 100,000 inputs cause no crash, no 500, no undocumented status, no slow answer and no memory growth."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.app import FaultError, ServiceUnderTest
from tests.fuzz.seeds import json_requests, pictures, queries, request
from tests.fuzz.targets import TARGETS, decode
from tests.service.storage.databases import Postgres

ROOT = Path(__file__).parents[2]
INPUTS = {name: target.share * 1200 for name, target in TARGETS.items()}
# Growth after the first fifth of the inputs: a leak of a kilobyte per input would exceed it. The peak has room for the
# largest input, which is a megabyte, in pieces and copies.
MAX_GROWTH_MB = {"resident": 12, "peak": 64}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", TARGETS)
def test_any_input_is_answered_or_refused_as_documented(name: str) -> None:
    count = INPUTS[name]
    flags = ["--target", name, "--inputs", str(count), "--warm-up", str(count // 5)]
    environment = os.environ | {
        "MALLOC_ARENA_MAX": "2"
    }  # more arenas keep more free memory, which would look like leaks
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *flags],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr[-4000:]
    report = json.loads(done.stdout)
    assert sum(report["outcomes"].values()) == report["inputs"] == count
    assert len(report["outcomes"]) >= 4  # valid inputs, and several kinds of invalid ones
    for kind, max_growth in MAX_GROWTH_MB.items():
        before, after = report[f"{kind}_mb"]
        assert after - before < max_growth, report


@pytest.mark.slow
@pytest.mark.parametrize("name", ["query", "json"])
def test_any_input_is_answered_or_refused_with_postgresql_too(
    name: str, tmp_path: Path, postgres: Postgres, migrated_postgres: str
) -> None:
    service = ServiceUnderTest(tmp_path, database=postgres.create(migrated_postgres))
    logging.disable(logging.CRITICAL)
    try:
        outcomes = {service.send(TARGETS[name].input(name, 1, number)) for number in range(4000)}
    finally:
        logging.disable(logging.NOTSET)
        service.close()
    assert {"200", "404", "422"} <= outcomes


def test_the_slow_suite_has_a_hundred_thousand_inputs() -> None:
    assert sum(INPUTS.values()) >= 100_000


def test_valid_inputs_are_accepted(tmp_path: Path) -> None:
    service = ServiceUnderTest(tmp_path)
    statuses = {service.send(data) for data in (*queries()[:8], *json_requests()[3:7])}
    service.close()
    assert statuses <= {"200", "404", "410"}
    assert [decode(data) for data in pictures()[:20]] == ["good"] * 20


def test_an_internal_error_and_an_undocumented_status_are_faults(tmp_path: Path) -> None:
    service = ServiceUnderTest(tmp_path)
    service._documented["/v1/models/{model}", "GET"] -= {422}
    with pytest.raises(FaultError, match="answers 422"):
        service.send(request("GET /v1/models/tiny?version=x"))
    object.__setattr__(service.app.state.context, "registry", None)
    with pytest.raises(FaultError, match="raises TypeError"):
        service.send(request("GET /v1/models"))
    service.close()


def test_the_input_of_a_number_is_always_the_same() -> None:
    for name, target in TARGETS.items():
        first = [target.input(name, 3, number) for number in range(50)]
        assert first == [target.input(name, 3, number) for number in range(50)]
        assert len(set(first)) > 40
