"""MLServer's types and codecs, in JSON and through its own conversion to gRPC messages."""

import base64
import json
import sys
import urllib.request
from pathlib import Path

import grpc
import numpy as np
from mlserver.codecs import Base64Codec, NumpyCodec, NumpyRequestCodec, StringCodec
from mlserver.grpc.converters import ModelInferRequestConverter, ModelInferResponseConverter
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from mlserver.types import InferenceRequest, InferenceResponse, Parameters, RequestOutput

http, rpc, folder = sys.argv[1:]
files = [Path(folder, f"{index}.png").read_bytes() for index in range(2)]
texts = [base64.b64encode(file).decode() for file in files]
pixels = np.array(json.loads(Path(folder, "pixels.json").read_text()), np.uint8)
stub = GRPCInferenceServiceStub(grpc.insecure_channel(rpc))
tried = []


def over_rest(request):
    address = f"http://{http}/v2/models/cifar10-lt/infer"
    headers = {"Content-Type": "application/json"}
    asked = urllib.request.Request(address, request.model_dump_json().encode(), headers)
    return InferenceResponse.model_validate_json(urllib.request.urlopen(asked).read())  # noqa: S310


def over_grpc(request, use_raw):
    message = ModelInferRequestConverter.from_types(request, "cifar10-lt", use_raw=use_raw)
    return ModelInferResponseConverter.to_types(stub.ModelInfer(message))


def ask(what, alpha, make, *transports, **more):
    for transport in transports or ("REST", "gRPC", "gRPC, raw"):
        codec = {} if make is NumpyRequestCodec else {"inputs": [make()]}
        request = InferenceRequest(**codec, outputs=[RequestOutput(name="probabilities")], **more)
        answer = over_rest(request) if transport == "REST" else over_grpc(request, transport == "gRPC, raw")
        tried.append([f"{transport}: {what}", alpha, NumpyCodec.decode_output(answer.outputs[0]).tolist()])


def of_the_request():
    request = NumpyRequestCodec.encode_request(pixels)  # content_type np on the request
    request.inputs[0].name = "images"
    return request


ask("base64", "balanced", lambda: Base64Codec.encode_input("encoded", files, use_bytes=True))
ask("base64 as text", "balanced", lambda: Base64Codec.encode_input("encoded", files, use_bytes=False), "REST")
ask("str", "balanced", lambda: StringCodec.encode_input("encoded", texts, use_bytes=True))
ask("np, pixels", "balanced", lambda: NumpyCodec.encode_input("images", pixels))
ask("np, files", "balanced", lambda: NumpyCodec.encode_input("encoded", np.array(files, object)), "gRPC", "gRPC, raw")
ask("np, base64", "balanced", lambda: NumpyCodec.encode_input("encoded", np.array(texts)))
ask("alpha", 0, lambda: Base64Codec.encode_input("encoded", files, use_bytes=True), parameters=Parameters(alpha="0"))
ask(
    "headers",
    "balanced",
    lambda: Base64Codec.encode_input("encoded", files, use_bytes=True),
    parameters=Parameters(headers={"host": "x"}),
)
for transport, answer in (("REST", over_rest(of_the_request())), ("gRPC", over_grpc(of_the_request(), False))):
    (found,) = (output for output in answer.outputs if output.name == "probabilities")
    tried.append([f"{transport}: request codec", "balanced", NumpyCodec.decode_output(found).tolist()])
print(json.dumps(tried))
