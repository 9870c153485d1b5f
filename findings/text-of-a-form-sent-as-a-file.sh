#!/usr/bin/env bash
# Expected: a Python client that is given a string for a form's field sends a text field, in whichever argument the
# string stands, as a browser and `curl -F name=value` do.
# What happens: `files=` turns a string into a *file* part. requests gives it the field's own name as its file name, and
# httpx the name `upload`. urllib3, under requests, sends a text field for the same string. Only `data=`, or the file
# name None, gives a text field.
# Why it matters: many callers put pictures and parameters into one `files=`. A server that takes only text fields for
# parameters sees a file called `alpha` there. Frameworks keep such a field out of the form's values, so the parameter
# is lost or refused, while `curl -F alpha=0` works. Longtail therefore reads a parameter that comes as a file, too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check requests==2.32.5 urllib3==2.5.0 httpx==0.28.1
"$folder/venv/bin/python" - <<'PYTHON'
import re
import sys

import httpx
import requests
import urllib3

URL = "http://127.0.0.1/"


def sent_by_requests(**fields):
    return requests.Request("POST", URL, **fields).prepare().body


def sent_by_httpx(**fields):
    return httpx.Request("POST", URL, **fields).read()


def sent_by_urllib3(fields):
    return urllib3.encode_multipart_formdata(fields)[0]


def headers(body):
    """Return the Content-Disposition of the field `alpha`."""
    return re.search(rb'Content-Disposition: (form-data; name="alpha".*)\r\n', body)[1].decode()


print(f"requests {requests.__version__}, urllib3 {urllib3.__version__}, httpx {httpx.__version__}")
picture = ("cat.png", b"a picture")
found = {
    "requests, files={'alpha': '0'}": headers(sent_by_requests(files={"files": picture, "alpha": "0"})),
    "httpx, files={'alpha': b'0'}": headers(sent_by_httpx(files={"files": picture, "alpha": b"0"})),
    "urllib3, fields={'alpha': '0'}": headers(sent_by_urllib3({"files": picture, "alpha": "0"})),
    "requests, data={'alpha': '0'}": headers(sent_by_requests(files={"files": picture}, data={"alpha": "0"})),
    "httpx, data={'alpha': '0'}": headers(sent_by_httpx(files={"files": picture}, data={"alpha": "0"})),
    "requests, files={'alpha': (None, '0')}": headers(sent_by_requests(files={"alpha": (None, "0")})),
}
for call, disposition in found.items():
    print(f"{call:40} {disposition}")
expected = [
    'form-data; name="alpha"; filename="alpha"',
    'form-data; name="alpha"; filename="upload"',
    *['form-data; name="alpha"'] * 4,
]
if list(found.values()) != expected:
    sys.exit("the behaviour has changed")
print("as described: a string in `files=` becomes a file")
PYTHON
