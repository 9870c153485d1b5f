"""A running server behaves as its /openapi.json says, checked by schemathesis.

Every answer has a documented status, type and shape, invalid requests are refused, and no request causes a server
error. Set `FUZZ_EXAMPLES=5000` for a longer run.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from models.bundle import load_bundle
from service.keys import SCOPES, new_key
from tests.service.server.test_process import server
from tests.tiny_bundle import write_tiny_bundle

EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "40")  # of each operation and phase
ONLY = {("path", "model"): "tiny", ("path", "version"): "1", ("query", "version"): 1}
# If they are documented, 501, 503 and 504 are ordinary answers; a request causes 504 by a short timeout of its own.
# A request that fits the schema may still get 410, 415 or 422: for a result that is no longer kept, another picture
# format, or an alpha that is not an operating point of this model. A list of labels gets 200 whatever its entries are,
# because each entry has its own error; test_feedback.py holds single labels against the document. Under /v2, a
# parameter that the schema lets pass may still be unknown, which is 400.
CONFIG = """
[generation]
database = "none"
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "501", "503", "504"]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "404", "409", "410", "415", "422", "503", "504"]
[auth.openapi.bearer]
bearer = "KEY"
[auth.openapi.header]
api_key = "KEY"
[[operations]]
include-path = "/v1/feedback"
[operations.checks.negative_data_rejection]
expected-statuses = ["200", "4xx", "503"]
[[operations]]
include-path-regex = "^/v2/"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "400", "404", "409", "410", "415", "422", "503", "504"]
"""


def with_existing_names(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with the test model's name in place of any text; otherwise nearly every answer would be 404."""
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                value = ONLY.get((parameter["in"], parameter["name"]))
                value = "spare" if path.endswith("load") else value  # no other request needs it, so it may be unloaded
                if value is not None:
                    parameter.pop("examples", None)
                    parameter["schema"] = {"type": "string" if isinstance(value, str) else "integer", "enum": [value]}
    return schema


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_server_does_what_its_openapi_document_says(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "models", "spare")
    bundle = load_bundle(write_tiny_bundle(tmp_path / "models"))
    key, line = new_key("fuzzer", SCOPES)
    (tmp_path / "keys.txt").write_text(line)
    (tmp_path / "schemathesis.toml").write_text(CONFIG.replace("KEY", key))
    with server(bundle, "--api-keys-file", str(tmp_path / "keys.txt")) as (_, url):
        schema = with_existing_names(httpx.get(f"{url}/openapi.json", headers={"X-API-Key": key}).json())
        (tmp_path / "openapi.json").write_bytes(orjson.dumps(schema))
        done = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", "--url", url, "--seed", "1",
                "--checks", "all", "--max-examples", EXAMPLES, "--continue-on-failure",
            ],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:]
