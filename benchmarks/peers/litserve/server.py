"""LitServe: two inference workers that batch, and two HTTP processes, its default for two workers."""

import os
from typing import Annotated

import litserve
from fastapi import Body
from work import Classifier


class Api(litserve.LitAPI):
    """Decode each picture, then compute the batch."""

    def setup(self, device: str) -> None:  # noqa: ARG002, D102
        self.classifier = Classifier()

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/*")]) -> object:  # noqa: D102
        return self.classifier.decode(request)

    def batch(self, inputs: list) -> list:  # noqa: D102
        return inputs

    def predict(self, batch: list) -> list[dict]:  # noqa: D102
        return self.classifier.classify(batch)

    def unbatch(self, output: list[dict]) -> list[dict]:  # noqa: D102
        return output

    def encode_response(self, output: dict) -> dict:  # noqa: D102
        return output


if __name__ == "__main__":
    api = Api(max_batch_size=8, batch_timeout=0.001, api_path="/classify")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=2, timeout=False)
    server.run(host="127.0.0.1", port=int(os.environ["PEER_PORT"]), generate_client_file=False, log_level="warning")
