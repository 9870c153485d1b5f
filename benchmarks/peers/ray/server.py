"""Ray Serve: two batching replicas with one CPU each, behind HAProxy, in throughput-optimised mode."""

import os
import signal

import ray
from ray import serve
from starlette.requests import Request
from work import Classifier


@serve.deployment(num_replicas=2, max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Replica:
    """A replica that decodes and computes batches."""

    def __init__(self) -> None:
        self.classifier = Classifier()

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.001)
    async def answer(self, pictures: list[bytes]) -> list[dict]:
        """Classify a batch."""
        return self.classifier.answer(pictures)

    async def __call__(self, request: Request) -> dict:
        """Classify the picture in the raw body."""
        return await self.answer(await request.body())


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=os.environ["PEER_FOLDER"])
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PEER_PORT"])})
    serve.run(Replica.bind(), route_prefix="/classify")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
