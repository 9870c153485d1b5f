"""What /openapi.json says, held against a real server by schemathesis.

Every status, type and shape of an answer is the documented one, what the documentation forbids is refused, and nothing
is a server error.

`FUZZ_EXAMPLES=5000` makes it as long as one likes.
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
# 501, 503 and 504 are answers like others, where they are documented; 504 comes where a request gives itself no time.
# 410 and 422 say what no schema can: a result that is not kept any more, an alpha that is no point of this model, a
# picture that is none (415: one of another kind).
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
"""


def with_names_that_are_there(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with the tests' model in place of any text: else nearly every answer would be 404."""
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                value = ONLY.get((parameter["in"], parameter["name"]))
                value = "spare" if path.endswith("load") else value  # which nobody misses once it is unloaded
                if value is not None:
                    parameter.pop("examples", None)
                    parameter["schema"] = {"type": "string" if isinstance(value, str) else "integer", "enum": [value]}
    return schema


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_server_does_what_its_documentation_says(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "models", "spare")
    bundle = load_bundle(write_tiny_bundle(tmp_path / "models"))
    key, line = new_key("fuzzer", SCOPES)
    (tmp_path / "keys.txt").write_text(line)
    (tmp_path / "schemathesis.toml").write_text(CONFIG.replace("KEY", key))
    with server(bundle, "--api-keys-file", str(tmp_path / "keys.txt")) as (_, url):
        schema = with_names_that_are_there(httpx.get(f"{url}/openapi.json", headers={"X-API-Key": key}).json())
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
