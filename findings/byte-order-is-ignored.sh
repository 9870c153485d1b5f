#!/usr/bin/env bash
# onnxruntime, OpenVINO's Tensor and OpenCV take a NumPy array of big-endian numbers and read its bytes the wrong way.
#
# Expected: an array that NumPy, and every program that calculates with it, shows as [1, 2, 3] is [1, 2, 3] everywhere,
#   or is refused because of its type, `>f4`.
# What happens: the three look at the kind of number and not at its byte order. onnxruntime computes on [4.6e-41, ...],
#   `openvino.Tensor` holds the same, and OpenCV adds 256 for 1. No error, no warning. OpenVINO's compiled model, given
#   the array itself instead of a Tensor, is right; onnx.numpy_helper and tritonclient refuse the array.
# Why it matters here: FITS, netCDF and 16-bit PGM store big-endian numbers, and readers hand them on as such arrays. A
#   model that is tested with one, or a picture scaled with OpenCV, gives confident nonsense.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
  numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 opencv-python-headless==5.0.0.93
"$folder/env/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import cv2
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper

value = helper.make_tensor_value_info
node = helper.make_node("Identity", ["x"], ["y"])
graph = helper.make_graph([node], "same", [value("x", TensorProto.FLOAT, [3])], [value("y", TensorProto.FLOAT, [3])])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()

numbers = np.array([1, 2, 3], ">f4")
grey = np.array([[1, 2, 3]], ">u2")
compiled = openvino.compile_model(openvino.Core().read_model(model), "CPU")
found = {
    "onnxruntime, Identity": onnxruntime.InferenceSession(model).run(None, {"x": numbers})[0],
    "openvino.Tensor(array).data": openvino.Tensor(numbers).data,
    "cv2.add(array, 0)": cv2.add(grey, np.zeros_like(grey))[0],
    "compiled OpenVINO model, Identity": compiled([numbers])[0],
}
packages = ("numpy", "onnxruntime", "openvino", "opencv-python-headless")
print(*(f"{name} {version(name)}" for name in packages), sep=", ")
print(f"given: {numbers.tolist()} as {numbers.dtype.str} or {grey.dtype.str}")
for name, array in found.items():
    print(f"{name}: {array.tolist()} as {array.dtype.str}")
swapped = numbers.view("<f4")
expected = [swapped, swapped, grey[0].view("<u2"), numbers]
as_described = all(map(np.array_equal, found.values(), expected))
print("as described" if as_described else "the behaviour has changed")
sys.exit(not as_described)
PYTHON
