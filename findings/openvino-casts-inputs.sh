#!/usr/bin/env bash
# A compiled OpenVINO model takes an array of another type than its input's and casts it: 0.9 becomes 0, 300 becomes 44.
#
# Expected: an array of floats for an input of type uint8 is refused, as onnxruntime refuses it, or at least values that
#   the type cannot hold are.
# What happens: the Python interface calls `array.astype(type of the input)`. Fractions are cut off and whole numbers
#   wrap around, with no error and no warning.
# Why it matters here: many models for edge devices have their normalisation inside and want pictures of 0..255 as
#   uint8. A caller who scales them to 0..1, as most models want, sends black pictures and gets an answer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
  numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
"$folder/env/bin/python" -W always - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper

value = helper.make_tensor_value_info
node = helper.make_node("Identity", ["x"], ["y"])
graph = helper.make_graph([node], "same", [value("x", TensorProto.UINT8, [3])], [value("y", TensorProto.UINT8, [3])])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
compiled = openvino.compile_model(openvino.Core().read_model(model), "CPU")
session = onnxruntime.InferenceSession(model)

print(*(f"{name} {version(name)}" for name in ("numpy", "openvino", "onnxruntime")), sep=", ")
found, refused = [], 0
for given in (np.array([0.0, 0.5, 0.9], np.float32), np.array([-1, 256, 300])):
    found.append(compiled([given])[0].tolist())
    print(f"{given.tolist()} as {given.dtype}: OpenVINO computes with {found[-1]}")
    try:
        session.run(None, {"x": given})
    except Exception as error:  # onnxruntime's own class, which it does not export
        refused += 1
        print("    onnxruntime:", str(error).splitlines()[0])
as_described = found == [[0, 0, 0], [255, 0, 44]] and refused == 2
print("as described" if as_described else "the behaviour has changed")
sys.exit(not as_described)
PYTHON
