#!/usr/bin/env bash
# MLServer's conversion of a request to a gRPC message leaves out every parameter that is a float, list or object.
#
# Expected: a parameter that gRPC cannot express is refused; a float becomes `double_param`, or is refused as well.
# What happens: `ModelInferRequestConverter.from_types` passes over it without a warning ("TODO: Log warning"); its
#   InferParameter message knows no doubles. KServe's SDK, at the same place, raises an error.
# Why it matters here: alpha 0.5 is a float. Sent as a number, it does not arrive, and the server answers with its
#   default alpha. Sent as the text "0.5" it arrives (`docs/how-to/triton-clients.md`).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check mlserver==1.7.1
"$folder/env/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

from mlserver.grpc.converters import ModelInferRequestConverter
from mlserver.types import InferenceRequest, Parameters, RequestInput

given = {"whole": 1, "text": "0.5", "fraction": 0.5, "list": [1]}
tensor = RequestInput(name="x", shape=[1], datatype="FP32", data=[1.0])
request = InferenceRequest(inputs=[tensor], parameters=Parameters(**given))
message = ModelInferRequestConverter.from_types(request, "model")
print("mlserver", version("mlserver"))
print("given:", given)
print("in the message:", {name: str(value).strip() for name, value in sorted(message.parameters.items())})
as_described = set(message.parameters) == {"whole", "text"}
print("as described" if as_described else "the behaviour has changed")
sys.exit(not as_described)
PYTHON
