#!/usr/bin/env bash
# `mlserver infer` sends a file of requests to a server of the Open Inference Protocol, without their parameters.
#
# Expected: it sends each request of the file as it stands: its inputs, outputs and parameters.
# What happens: it rebuilds every request for tritonclient from names, shapes and data only. The parameters of the
#   request, of its inputs and of its outputs are gone, without a warning. Even the content type that says how the
#   data are written goes, so with --binary-data a BYTES input of content type base64 is sent as base64 text that
#   nothing marks as such.
# Why it matters here: `"parameters": {"alpha": 0}` in the file has no effect: the server answers with its default
#   alpha. Alpha has to be a tensor (`docs/how-to/triton-clients.md`), and the server recognises base64 text of a picture
#   by its first characters.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check mlserver==1.7.1 tritonclient==2.73.0
"$folder/env/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

from mlserver.batch_processing import BatchInputItem, preprocess_items

line = (
    b'{"parameters": {"alpha": 0}, "outputs": [{"name": "scores", "parameters": {"classification": 3}}],'
    b' "inputs": [{"name": "file", "shape": [1], "datatype": "BYTES", "data": ["YWJj"],'
    b' "parameters": {"content_type": "base64"}}]}'
)
request, *_ = preprocess_items([BatchInputItem(index=0, item=line)], binary_data=True)
sent = {
    "fields of the request": sorted(vars(request)),
    "input": request.inputs[0]._get_tensor(),
    "bytes": request.inputs[0]._get_binary_data(),
    "output": request.outputs[0]._get_tensor(),
}
print("mlserver", version("mlserver"), "tritonclient", version("tritonclient"))
print("in the file:", line.decode())
for name, value in sent.items():
    print(f"sent, {name}: {value}")
as_described = (
    "parameters" not in vars(request)
    and "content_type" not in sent["input"]["parameters"]
    and sent["bytes"].endswith(b"YWJj")
    and "classification" not in sent["output"]["parameters"]
)
print("as described" if as_described else "the behaviour has changed")
sys.exit(not as_described)
PYTHON
