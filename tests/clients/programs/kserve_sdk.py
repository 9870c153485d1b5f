"""KServe's SDK: its REST and its gRPC inference client, in their default (bytes) and their JSON form."""

import asyncio
import base64
import json
import sys
from pathlib import Path

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput

http, rpc, folder = sys.argv[1:]
url = f"http://{http}"
files = [Path(folder, f"{index}.png").read_bytes() for index in range(2)]
pixels = np.array(json.loads(Path(folder, "pixels.json").read_text()), np.uint8)
tried = []


def in_bytes():
    given = InferInput("encoded", [2, 1], "BYTES")
    given.set_data_from_numpy(np.array(files, object).reshape(2, 1))
    return given


def in_json():
    return InferInput("encoded", [2], "BYTES", data=[base64.b64encode(file).decode() for file in files])


def alphas(values):
    given = InferInput("alpha", [2, 1], "FP32")
    given.set_data_from_numpy(np.float32(values).reshape(2, 1))
    return given


async def main():
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    grpc = InferenceGRPCClient(rpc)
    assert await rest.is_server_live(url)
    assert await rest.is_server_ready(url)
    assert await rest.is_model_ready(url, "cifar10-lt")
    assert not await rest.is_model_ready(url, "other")
    assert await grpc.is_server_live()
    assert await grpc.is_server_ready()
    assert await grpc.is_model_ready("cifar10-lt")

    async def ask(what, alpha, *inputs, over=("REST", "gRPC"), **more):
        for transport in over:
            request = InferRequest("cifar10-lt", [make() for make in inputs], **more)
            if transport == "REST":
                answer = await rest.infer(url, request, model_name="cifar10-lt")
            else:
                answer = await grpc.infer(request)
            found = answer.get_output_by_name("probabilities").as_numpy()
            tried.append([f"{transport}: {what}", alpha, found.tolist()])

    wanted = [RequestedOutput("probabilities", {"binary_data": True})]
    await ask("default", "balanced", in_bytes)
    await ask("JSON", "balanced", in_json)
    await ask("array", "balanced", lambda: InferInput("images", [2, 32, 32, 3], "UINT8", data=pixels))
    await ask("list", "balanced", lambda: InferInput("images", [2, 32, 32, 3], "UINT8", data=pixels.ravel().tolist()))
    await ask("alpha as a number", 0, in_bytes, parameters={"alpha": 0})
    await ask("alpha as a text", 0.5, in_json, parameters={"alpha": "0.5"})
    await ask("alpha as a tensor", 0.5, in_bytes, lambda: alphas([0.5, 0.5]))
    await ask("bytes for each output", "balanced", in_bytes, request_outputs=wanted)
    await ask("bytes for all outputs", 0, in_json, parameters={"binary_data_output": True, "alpha": 0})
    await ask("bytes and JSON", 0, in_bytes, lambda: InferInput("alpha", [2], "FP32", data=[0, 0]), over=("REST",))
    await rest.close()
    await grpc.close()


asyncio.run(main())
print(json.dumps(tried))
