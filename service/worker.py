"""Threads that decode and compute, and one answer for every picture that was accepted.

A picture is accepted (`admit`), put in line (`infer`), decoded, computed in some batch, and what its request asks of
the network's numbers is worked out for the whole batch at once; all of that in the thread that took it, so the event
loop only parses and sends, and decodes what is tiny. The same picture that is asked for again while it waits or is
computed is computed once. A picture that nobody waits for any more leaves the line; one that is being computed is
computed for nobody.

If the network fails, every picture of that batch hears it; if it gives numbers that are not finite, or the picture
cannot be decoded, that picture does. No path leaves a future without an answer.
"""

import asyncio
import logging
import threading
import time
from typing import Any, NamedTuple

import numpy as np

from models.errors import ImageError, ImageTooLargeError
from service.admission import Admission, Places
from service.asking import AS_THEY_ARE, Ask, Asker, Outcome, is_finite, outcomes, settle
from service.batching import BatchQueue, Decode, Infer, Task
from service.cache import Key, Numbers, ResponseCache
from service.cores import CORES
from service.engines.base import Pixels
from service.errors import InferenceError, NotReadyError
from service.metrics import Metrics
from service.picture import NOTHING, Picture, decode
from service.registry import ServedModel

__all__ = ["Worker"]

log = logging.getLogger("longtail.worker")
CLOSE_SECONDS = 5.0  # the server has waited for accepted work before; what runs now is one batch
SMALL_BYTES, SMALL_PIXELS = 16_384, 4096  # decoded in about 0.1 ms
THE_LOG = "the server's log has it under this request id"
Source = bytes | Pixels  # an encoded picture, or (H, W, 3) uint8 of the model's size


class _Computed(NamedTuple):
    """A batch's numbers, and what came of them for everybody who had asked by then."""

    served: ServedModel
    numbers: Numbers
    outcomes: list[Outcome]


class Worker:
    """Threads in front of the engines, a bounded queue in front of the threads.

    Args:
        inference_threads: batches computed at a time.
        decode_threads: pictures decoded at a time, by the same threads: there are as many as the larger of the two.
        max_pending_images: most pictures accepted and not answered yet.
        max_pixels: the largest picture that is decoded, width x height.
        cache: where answers are kept.
        metrics: where batches and times are counted.
    """

    def __init__(
        self,
        *,
        inference_threads: int,
        decode_threads: int,
        max_pending_images: int,
        max_pixels: int,
        cache: ResponseCache,
        metrics: Metrics,
    ) -> None:
        self._queue: BatchQueue[ServedModel, Picture] = BatchQueue(inference_threads, max(0, inference_threads - CORES))
        self._changed, self._closing = threading.Condition(), False
        self._admission, self._max_pixels = Admission(max_pending_images, metrics), max_pixels
        self.cache, self._metrics = cache, metrics
        self._asked: dict[Key, Picture] = {}  # pictures in line or being computed; the event loop's alone
        self._threads = [
            threading.Thread(target=self._serve, name=f"inference-{i}", daemon=True)
            for i in range(max(inference_threads, decode_threads))
        ]
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def pending_images(self) -> int:
        """Pictures accepted and not answered yet."""
        return self._admission.held

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
        deadline = time.monotonic() + CLOSE_SECONDS
        for thread in self._threads:
            await asyncio.to_thread(thread.join, max(0.0, deadline - time.monotonic()))

    def admit(self, images: int) -> Places:
        """Return places for a request's pictures, to be held (`with`) until it is answered, however that ends.

        Raises:
            OverloadedError: there are not that many left.
        """
        return self._admission.places(images)

    async def infer(self, served: ServedModel, source: Source, ask: Ask = AS_THEY_ARE) -> Any:
        """Return what is asked of the network's numbers for one picture; the numbers may be known already.

        Args:
            served: the model.
            source: the picture.
            ask: by default the numbers themselves, (C,) logits at alpha 0 and (K,) head cosine.

        Raises:
            models.errors.ImageError: no picture, a damaged one, or one that is too large.
            InferenceError: the network failed.
            NotReadyError: the service is shutting down.
        """
        key = self.cache.key(served, source) if isinstance(source, bytes) else None
        if key is not None and (known := self.cache.get(served, key)) is not None:
            batch = Numbers(known.logits[None], known.head_cosine[None])
            if ask.heavy:
                return (await asyncio.to_thread(ask.finish, served, batch, [ask.question]))[0]
            return ask.finish(served, batch, [ask.question])[0]
        asker = Asker(ask, asyncio.get_running_loop().create_future())
        picture = self._join(served, source, key, asker)
        try:
            return await asker.answer
        except asyncio.CancelledError:
            self._leave(picture, asker)
            raise
        finally:
            del asker, picture  # or an error, its traceback and this frame would hold each other, the model with them

    def _join(self, served: ServedModel, source: Source, key: Key | None, asker: Asker) -> Picture:
        """Wait beside whoever waits for the same picture already, or at the end of the line."""
        if key is not None and (picture := self._asked.get(key)) is not None:
            picture.askers.append(asker)
            return picture
        data, pixels = (source, NOTHING) if isinstance(source, bytes) else (b"", source)
        picture = Picture(served, data, pixels, key, [asker], time.perf_counter_ns())
        decoded = pixels is source or (len(data) <= SMALL_BYTES and self._decode_at_once(picture))
        with self._changed:
            if self._closing:
                raise NotReadyError("the server is shutting down; try another one, or again in a moment")
            picture.ticket = self._queue.add(served, picture, policy=served.batch_policy, decoded=decoded)
            self._changed.notify()
        if key is not None:
            self._asked[key] = picture
        return picture

    def _decode_at_once(self, picture: Picture) -> bool:
        """Decode a small picture on the event loop: handing it over would take longer. False where it is not small."""
        limit = min(SMALL_PIXELS, self._max_pixels)
        if picture.served.bundle.manifest.input.resize**2 > limit:
            return False
        try:
            decode(picture, limit)
        except ImageTooLargeError:
            return False
        return True

    def _leave(self, picture: Picture, asker: Asker) -> None:
        picture.askers.remove(asker)
        if picture.askers:
            return
        self._forget(picture)
        with self._changed:
            self._queue.discard(picture.served, picture.ticket)

    def _forget(self, picture: Picture) -> None:
        if picture.key is not None and self._asked.get(picture.key) is picture:
            del self._asked[picture.key]

    def _serve(self) -> None:
        """Do one task after the other until the queue is empty and the worker closes; from here on, in the threads."""
        done: list[tuple[Task[ServedModel, Picture], Picture | None]] = []
        while (task := self._next(done)) is not None:
            if isinstance(task, Decode):
                done.append((task, self._decode(task.item)))
            else:
                self._compute_surely(task)
                done.append((task, None))
            del task  # a thread that waits holds no model, which may be out of service and is to be freed

    def _next(self, done: list[tuple[Task[ServedModel, Picture], Picture | None]]) -> Task[ServedModel, Picture] | None:
        """Say what was done, which leaves the list empty, and wait for the next task."""
        with self._changed:
            if done:
                self._finish(*done.pop())
            while (task := self._queue.next_task()) is None:
                if self._closing:
                    self._changed.notify_all()
                    return None
                self._changed.wait()
            if len(self._queue):
                self._changed.notify()
            return task

    def _finish(self, task: Task[ServedModel, Picture], decoded: Picture | None) -> None:
        if decoded is not None and decoded.askers:
            self._queue.finish(task, decoded)
        else:  # or everybody has left meanwhile
            self._queue.finish(task)

    def _decode(self, picture: Picture) -> Picture | None:
        """Turn the picture's bytes into pixels; None where that cannot be, or nobody waits for it any more."""
        if not picture.askers:
            return None
        try:
            decode(picture, self._max_pixels)
        except (ImageError, InferenceError) as error:
            error.__cause__ = error.__context__ = None  # whose frames hold the picture, which holds who hears the error
            self._answer([picture], error.with_traceback(None))
            return None
        return picture

    def _compute_surely(self, batch: Infer[ServedModel, Picture]) -> None:
        try:
            self._compute(batch)
        except Exception:
            log.exception("answers of model %s could not be worked out", batch.model.name)
            self._answer(batch.items, InferenceError(f"the answer could not be worked out; {THE_LOG}"))

    def _compute(self, batch: Infer[ServedModel, Picture]) -> None:
        """Run the network on one batch, work out what each request asks of its numbers, hand over the answers."""
        served, pictures = batch.model, batch.items
        started = time.perf_counter_ns()
        try:
            images = np.stack([picture.pixels for picture in pictures])
            numbers = Numbers(*served.engine.run(images, alone=batch.alone))
        except Exception:
            log.exception("model %s failed on a batch of %d images", served.name, len(pictures))
            self._answer(pictures, InferenceError(f"the model failed on this picture; {THE_LOG}"))
            return
        computed = time.perf_counter_ns()
        if not len(numbers.logits) == len(numbers.head_cosine) == len(pictures):
            shapes = numbers.logits.shape, numbers.head_cosine.shape
            log.error("model %s: %d images in, %s and %s out", served.name, len(pictures), *shapes)
            self._answer(pictures, InferenceError(f"the model gave no answer for this picture; {THE_LOG}"))
            return
        self._answer(
            pictures, _Computed(served, numbers, outcomes(served, numbers, [each.askers.copy() for each in pictures]))
        )
        self._count(served, pictures, numbers, started, computed)

    def _answer(self, pictures: list[Picture], result: _Computed | Exception) -> None:
        assert self._loop is not None  # noqa: S101  start() set it before any thread began
        self._loop.call_soon_threadsafe(self._deliver, pictures, result)

    def _count(
        self, served: ServedModel, pictures: list[Picture], numbers: Numbers, started: int, computed: int
    ) -> None:
        stage, decoding, answered = self._metrics.stages(served.name), 0, time.perf_counter_ns()
        for picture in pictures:
            decoding += picture.decode_ns
            stage.decode.observe(picture.decode_ns / 1e9)
            stage.queue.observe((started - picture.since_ns - picture.decode_ns) / 1e9)
        for cosine in numbers.head_cosine.mean(axis=1).tolist():
            if cosine == cosine:  # noqa: PLR0124  NaN would make the sum NaN for ever
                stage.head_cosine.observe(cosine)
        stage.inference.observe((computed - started) / 1e9)
        stage.alpha.observe((answered - computed) / 1e9)
        stage.batch_images.observe(len(pictures))
        served.statistics.batch(
            images=len(pictures),
            queue_ns=sum(started - picture.since_ns - picture.decode_ns for picture in pictures),
            compute_input_ns=decoding,
            compute_infer_ns=computed - started,
            compute_output_ns=answered - computed,
        )

    def _deliver(self, pictures: list[Picture], result: _Computed | Exception) -> None:
        """Give everybody who asked their answer, and keep the numbers for who asks next; on the event loop again."""
        for picture in pictures:
            self._forget(picture)
        if isinstance(result, Exception):
            settle((asker, result) for picture in pictures for asker in picture.askers)
            return
        settle(result.outcomes)
        for row, picture in enumerate(pictures):
            if picture.key is None:
                continue
            numbers = Numbers(*(part[row : row + 1] for part in result.numbers))
            late = [asker for asker in picture.askers if not asker.answer.done()]  # joined when all was worked out
            settle(outcomes(result.served, numbers, [[asker for asker in late if not asker.ask.heavy]]))
            if heavy := [asker for asker in late if asker.ask.heavy]:
                working = asyncio.get_running_loop().run_in_executor(None, outcomes, result.served, numbers, [heavy])
                working.add_done_callback(lambda done: settle(done.result()))
            if is_finite(numbers):
                self.cache.put(picture.key, Numbers(*(part[0] for part in numbers)))
