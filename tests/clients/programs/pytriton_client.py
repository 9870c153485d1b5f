"""NVIDIA PyTriton's clients, which read a model's configuration before they infer, over HTTP and gRPC."""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
from pytriton.client import AsyncioModelClient, FuturesModelClient, ModelClient

http, rpc, folder = sys.argv[1:]
files = np.array([Path(folder, f"{index}.png").read_bytes() for index in range(2)], object)
pixels = np.array(json.loads(Path(folder, "pixels.json").read_text()), np.uint8)
zeros = np.zeros((2, 1), np.float32)
tried = []


async def asynchronous(url):
    async with AsyncioModelClient(url, "cifar10-lt") as client:
        return await client.infer_batch(encoded=files[:, None])


for url in (f"http://{http}", f"grpc://{rpc}"):
    transport = url.partition(":")[0]

    def note(what, alpha, answer, transport=transport):
        tried.append([f"{transport}: {what}", alpha, answer["probabilities"].tolist()])

    with ModelClient(url, "cifar10-lt") as client:
        note("files", "balanced", client.infer_batch(encoded=files[:, None]))
        note("files without a second dimension", "balanced", client.infer_batch(encoded=files))
        note("pixels", "balanced", client.infer_batch(images=pixels))
        note("alpha for each", 0, client.infer_batch(encoded=files[:, None], alpha=zeros))
        note("alpha as a parameter", 0, client.infer_batch(encoded=files[:, None], parameters={"alpha": 0}))
        samples = [client.infer_sample(images=each)["probabilities"].tolist() for each in pixels]
        tried.append([f"{transport}: one sample each", "balanced", samples])
    note("asyncio", "balanced", asyncio.run(asynchronous(url)))
    with FuturesModelClient(url, "cifar10-lt") as client:
        note("futures", "balanced", client.infer_batch(encoded=files[:, None]).result())
print(json.dumps(tried))
