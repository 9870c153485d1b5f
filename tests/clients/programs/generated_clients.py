"""The clients that are generated from the protocol's specification: open-inference-openapi and open-inference-grpc."""

import base64
import json
import struct
import sys
from pathlib import Path

import grpc
from open_inference.grpc import protocol
from open_inference.grpc.service import GRPCInferenceServiceStub
from open_inference.openapi.client import InferenceRequest, OpenInferenceClient

http, rpc, folder = sys.argv[1:]
files = [Path(folder, f"{index}.png").read_bytes() for index in range(2)]
pixels = json.loads(Path(folder, "pixels.json").read_text())
encoded = {"name": "encoded", "shape": [2], "datatype": "BYTES"}
images = {"name": "images", "shape": [2, 32, 32, 3], "datatype": "UINT8"}
tried = []

client = OpenInferenceClient(base_url=f"http://{http}")
client.check_server_liveness()
client.check_server_readiness()
client.check_model_readiness("cifar10-lt")
client.check_model_version_readiness("cifar10-lt", "2")
assert client.read_server_metadata().name == "longtail"
assert [each.name for each in client.read_model_metadata("cifar10-lt").inputs] == ["images", "encoded", "alpha"]


def over_rest(what, alpha, *inputs, **more):
    request = InferenceRequest(inputs=inputs, outputs=[{"name": "probabilities"}], **more)
    values = [float(each) for each in client.model_infer("cifar10-lt", request=request).outputs[0].data.__root__]
    tried.append([f"REST: {what}", alpha, [values[:10], values[10:]]])


texts = [base64.b64encode(file).decode() for file in files]
zeros = {"name": "alpha", "shape": [2, 1], "datatype": "FP32", "data": [[0], [0]]}
over_rest("files", "balanced", encoded | {"data": texts})
over_rest("pixels, which the client sends as floats", "balanced", images | {"data": pixels})
over_rest("alpha for each", 0, encoded | {"data": texts}, zeros)
over_rest("alpha as a parameter", 0.5, encoded | {"data": texts}, parameters={"alpha": 0.5})

stub = GRPCInferenceServiceStub(grpc.insecure_channel(rpc))
assert stub.ServerLive(protocol.ServerLiveRequest()).live
assert stub.ServerReady(protocol.ServerReadyRequest()).ready
assert stub.ModelReady(protocol.ModelReadyRequest(name="cifar10-lt")).ready
assert len(stub.ModelMetadata(protocol.ModelMetadataRequest(name="cifar10-lt")).outputs) == 4


def over_grpc(what, alpha, *inputs, **more):
    outputs = [{"name": "probabilities"}]
    message = protocol.ModelInferRequest(model_name="cifar10-lt", inputs=inputs, outputs=outputs, **more)
    values = struct.unpack("<20f", stub.ModelInfer(message).raw_output_contents[0])
    tried.append([f"gRPC: {what}", alpha, [values[:10], values[10:]]])


flat = [value for picture in pixels for row in picture for pixel in row for value in pixel]
half = {"alpha": protocol.InferParameter(double_param=0.5)}
over_grpc("files", "balanced", encoded | {"contents": {"bytes_contents": files}})
over_grpc("files as base64", "balanced", encoded | {"contents": {"bytes_contents": [text.encode() for text in texts]}})
over_grpc("pixels", "balanced", images | {"contents": {"uint_contents": flat}})
over_grpc("alpha as a parameter", 0.5, encoded | {"contents": {"bytes_contents": files}}, parameters=half)
print(json.dumps(tried))
