#!/usr/bin/env bash
# Starlette, and so FastAPI, reads UTF-8 in an urlencoded form as Latin-1 unless it is written with percent signs.
#
# Expected: `curl -d name=Füchse` arrives as "Füchse". curl sends what it is given, here UTF-8; the URL Standard parses
#   such a body as UTF-8, percent signs or not, and Starlette's own query parameters and multipart forms are UTF-8.
# What happens: the form has "FÃ¼chse", while the same name with percent signs (`curl --data-urlencode`, browsers,
#   Python's clients) arrives well. There is no error. Python's `urllib.parse` and Werkzeug read both alike.
# Why it matters here: names of classes are such values. A client by hand and a client by library store two names for
#   one class. `service/web/parameter_route.py` therefore reads such a body with `urllib.parse`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
  starlette==1.10.0 python-multipart==0.0.34 werkzeug==3.1.3
"$folder/env/bin/python" - <<'PYTHON'
import asyncio
import io
import sys
from importlib.metadata import version
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from werkzeug.formparser import parse_form_data

TYPE = "application/x-www-form-urlencoded"


async def by_starlette(body):
    async def receive():
        return {"type": "http.request", "body": body}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", TYPE.encode())]}
    return (await Request(scope, receive).form())["name"]


def by_werkzeug(body):
    environ = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": TYPE, "CONTENT_LENGTH": str(len(body))}
    return parse_form_data(environ | {"wsgi.input": io.BytesIO(body)})[1]["name"]


print(*(f"{name} {version(name)}" for name in ("starlette", "python-multipart", "werkzeug")), sep=", ")
found = []
for body in ("name=Füchse".encode(), f"name={quote('Füchse')}".encode()):
    found += [asyncio.run(by_starlette(body)), by_werkzeug(body), parse_qs(body.decode())["name"][0]]
    print(f"{body}: Starlette {found[-3]!r}, Werkzeug {found[-2]!r}, urllib {found[-1]!r}")
as_described = found == ["FÃ¼chse", *["Füchse"] * 5]
print("as described" if as_described else "the behaviour has changed")
sys.exit(not as_described)
PYTHON
