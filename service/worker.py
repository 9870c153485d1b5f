"""Runs the batches: threads that take from the queue, and one answer for every image that was accepted.

An image is accepted (`admit`), decoded, put in line (`infer`), computed in some batch and answered through a future of
the event loop. An image whose request is cancelled leaves the line; one that is being computed is computed for nobody.
If the network fails, every image of that batch hears it; if it gives numbers that are not finite, the image they belong
to does. No path leaves a future without an answer.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.batching import BatchQueue
from service.engines.base import Engine, Float, Pixels
from service.errors import InferenceError, NotReadyError, OverloadedError
from service.metrics import Metrics

__all__ = ["Worker"]

log = logging.getLogger("longtail.worker")
CLOSE_SECONDS = 5.0  # the server has waited for accepted work before; what runs now is one batch
Answer = tuple[Float, Float]  # (C,) logits, (K,) head cosine


@dataclass(slots=True)
class _Waiting:
    pixels: Pixels
    answer: asyncio.Future[Answer]
    since: float


class Worker:
    """Threads in front of the engines, a bounded queue in front of the threads.

    Args:
        engines: model name -> engine.
        threads: batches computed at a time.
        max_batch_images: most images in one batch.
        max_pending_images: most images accepted and not answered yet.
        metrics: where batches and times are counted.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        *,
        threads: int,
        max_batch_images: int,
        max_pending_images: int,
        metrics: Metrics,
    ) -> None:
        self._engines = engines
        self._queue: BatchQueue[_Waiting] = BatchQueue(max_batch_images)
        self._changed = threading.Condition()
        self._closing = False
        self._pending = 0
        self._max_pending = max_pending_images
        self._metrics = metrics
        self._threads = [
            threading.Thread(target=self._serve, name=f"inference-{i}", daemon=True) for i in range(threads)
        ]
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def pending_images(self) -> int:
        """Images accepted and not answered yet."""
        return self._pending

    def start(self) -> None:
        """Start the threads; to be called on the event loop that will await the answers."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    async def close(self) -> None:
        """Finish what waits, then end the threads; one that hangs in its engine ends with the process."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join, CLOSE_SECONDS)

    @contextmanager
    def admit(self, images: int) -> Iterator[None]:
        """Hold places for a request's images until it is answered, however that ends.

        Raises:
            OverloadedError: there are not that many places left.
        """
        if self._pending + images > self._max_pending:
            raise OverloadedError(
                f"{self._pending} images are waiting and {self._max_pending} may; try again in a second, or send fewer"
            )
        self._set_pending(self._pending + images)
        try:
            yield
        finally:
            self._set_pending(self._pending - images)

    async def infer(self, model: str, pixels: Pixels) -> Answer:
        """Compute one image, (H, W, 3) uint8, in the next batch of its model; (C,) logits and (K,) head cosine.

        Raises:
            InferenceError: the network failed.
            NotReadyError: the service is shutting down.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        with self._changed:
            if self._closing:
                raise NotReadyError("the server is shutting down; try another one, or again in a moment")
            ticket = self._queue.add(model, _Waiting(pixels, answer, time.perf_counter()))
            self._changed.notify()
        try:
            return await answer
        except asyncio.CancelledError:
            with self._changed:
                self._queue.discard(model, ticket)
            raise

    def _set_pending(self, images: int) -> None:
        self._pending = images
        self._metrics.pending_images.set(images)

    def _serve(self) -> None:
        """One inference thread: take the next batch, compute it, hand the answers to the event loop."""
        while True:
            with self._changed:
                while (batch := self._queue.next_batch()) is None:
                    if self._closing:
                        return
                    self._changed.wait()
            model, items = batch
            outcome = self._compute(model, items)
            assert self._loop is not None  # noqa: S101  start() set it before this thread began
            self._loop.call_soon_threadsafe(_deliver, items, outcome)

    def _compute(self, model: str, items: list[_Waiting]) -> Answer | InferenceError:
        started = time.perf_counter()
        for item in items:
            self._metrics.stage_seconds.labels(model, "queue").observe(started - item.since)
        try:
            logits, head_cosine = self._engines[model].run(np.stack([item.pixels for item in items]))
        except Exception:
            log.exception("model %s failed on a batch of %d images", model, len(items))
            return InferenceError("the model failed on this picture; the server's log has it under this request id")
        if not len(logits) == len(head_cosine) == len(items):
            log.error(
                "model %s: %d images in, %d logits and %d cosines out", model, len(items), len(logits), len(head_cosine)
            )
            return InferenceError("the model gave no answer for this picture; the server's log has more")
        self._metrics.stage_seconds.labels(model, "inference").observe(time.perf_counter() - started)
        self._metrics.batch_images.labels(model).observe(len(items))
        return logits, head_cosine


def _deliver(items: list[_Waiting], outcome: Answer | InferenceError) -> None:
    """Give every image its row, or the reason why there is none; runs on the event loop."""
    for row, item in enumerate(items):
        if item.answer.done():
            continue
        if isinstance(outcome, InferenceError):
            item.answer.set_exception(outcome)
            continue
        answer: Any = (outcome[0][row], outcome[1][row])
        if all(np.isfinite(part).all() for part in answer):
            item.answer.set_result(answer)
        else:
            log.error("the model gave logits that are not finite numbers for an image")
            item.answer.set_exception(InferenceError("the model gave no finite numbers for this picture"))
