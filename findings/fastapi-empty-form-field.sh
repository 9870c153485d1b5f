#!/usr/bin/env bash
# FastAPI takes an empty field of a form for a field that was not sent, and uses the default.
#
# Expected: an empty text is a value. For a number it is refused with 422, as `?alpha=` is in the query; for a string it
#   is "", as `?name=` is in the query.
# What happens: in a form, urlencoded or multipart, the same parameter gets its default, whatever its type and without a
#   word. An empty string cannot be sent at all where there is a default.
# Why it matters here: `curl -F "alpha=$ALPHA"` with a variable that is not set is answered with 200, at the default
#   alpha. This service refuses it; it reads forms itself (`service/web/parameter_route.py`).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
  fastapi==0.165.0 starlette==1.10.0 pydantic==2.14.4 python-multipart==0.0.34 httpx==0.28.1
"$folder/env/bin/python" -W ignore - <<'PYTHON'
import sys
from importlib.metadata import version
from typing import Annotated

from fastapi import FastAPI, Form, Query
from fastapi.testclient import TestClient

app = FastAPI()


@app.post("/query")
def of_query(alpha: Annotated[float, Query()] = 1.5, name: Annotated[str, Query()] = "default"):
    return {"alpha": alpha, "name": name}


@app.post("/form")
def of_form(alpha: Annotated[float, Form()] = 1.5, name: Annotated[str, Form()] = "default"):
    return {"alpha": alpha, "name": name}


client = TestClient(app)
empty = {"alpha": ""}, {"name": ""}
as_file = [{name: (None, "")} for fields in empty for name in fields]
answers = {
    "query": [client.post("/query", params=fields) for fields in empty],
    "form, urlencoded": [client.post("/form", data=fields) for fields in empty],
    "form, multipart": [client.post("/form", files=fields) for fields in as_file],
}
print("fastapi", version("fastapi"), "starlette", version("starlette"))
for place, (number, text) in answers.items():
    print(f"{place:17} alpha= {number.status_code} {number.text}\n{'':17} name=  {text.status_code} {text.text}")
default = {"alpha": 1.5, "name": "default"}
number, text = answers.pop("query")
as_described = number.status_code == 422 and text.json()["name"] == ""
as_described = as_described and all(answer.json() == default for pair in answers.values() for answer in pair)
print("as described" if as_described else "the behaviour has changed")
sys.exit(not as_described)
PYTHON
