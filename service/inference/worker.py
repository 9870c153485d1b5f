"""Threads that decode and compute, and one answer for every picture that was accepted.

A picture is accepted (`admit`), put in line (`infer`), decoded, computed in some batch, and what its request asks of
the network's numbers is worked out for the whole batch at once; all of that in the thread that took it, so the event
loop only parses and sends, and decodes what is tiny. The same picture that is asked for again while it waits or is
computed is computed once. A picture that nobody waits for any more leaves the line; one that is being computed is
computed for nobody.

If the network fails, every picture of that batch hears it; if it gives numbers that are not finite, or the picture
cannot be decoded, that picture does. If a thread hangs or dies, whoever waits for it hears that, and the process is to
be replaced (`watchdog.py`). No path leaves a future without an answer.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from engines.base import Pixels
from models.errors import ImageError
from service.cores import CORES
from service.errors import InferenceError, NotReadyError
from service.inference.admission import Admission, Places
from service.inference.batch_metrics import count_batch
from service.inference.batching import BatchQueue, Decode, Infer, Task
from service.inference.cache import Key, NetworkOutput, ResponseCache
from service.inference.picture import NOTHING, Picture, decode, decode_if_small
from service.inference.queries import AS_THEY_ARE, Outcome, OutputQuery, Waiter, is_finite, outcomes, settle
from service.inference.registry import ServedModel
from service.inference.watchdog import Watchdog, WorkerThread
from service.metrics import Metrics

__all__ = ["Worker"]

log = logging.getLogger("longtail.worker")
CLOSE_SECONDS = 5.0  # the server has waited for accepted work before; what runs now is one batch
THE_LOG = "the server's log has it under this request id"
Source = bytes | Pixels  # an encoded picture, or (H, W, 3) uint8 of the model's size


class _Computed(NamedTuple):
    """A batch's numbers, and what came of them for everybody who had asked by then."""

    served: ServedModel
    numbers: NetworkOutput
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
        stuck_seconds: a thread that works on one batch or picture for longer hangs; 0: none ever does.
        fail: told, in words, why this process is to be replaced.

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
        stuck_seconds: float = 0.0,
        fail: Callable[[str], None] = log.critical,
    ) -> None:
        self._queue: BatchQueue[ServedModel, Picture] = BatchQueue(inference_threads, max(0, inference_threads - CORES))
        self._changed = threading.Condition()
        self._closing = False
        self._refusal: str | None = None  # why no picture is taken any more
        self.admission = Admission(max_pending_images, metrics)
        self._max_pixels = max_pixels
        self.cache = cache
        self._metrics = metrics
        self._asked: dict[Key, Picture] = {}  # pictures in line or being computed; the event loop's alone
        self._desks = [self._desk(f"inference-{i}") for i in range(max(inference_threads, decode_threads))]
        self._watchdog = Watchdog(self._desks, stuck_seconds, self._lose)
        self._fail = fail
        self._watching: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def pending_images(self) -> int:
        """Pictures accepted and not answered yet."""
        return self.admission.held

    def start(self) -> None:
        """Start the threads; to be called on the event loop that will await the answers."""
        self._loop = asyncio.get_running_loop()
        for desk in self._desks:
            desk.thread.start()
        self._watching = self._loop.create_task(self._watchdog.run())

    async def close(self) -> None:
        """Finish what waits, then end the threads; one that hangs in its engine ends with the process."""
        if self._watching is not None:
            self._watching.cancel()
        with self._changed:
            self._closing = True
            self._refusal = self._refusal or "the server is shutting down; try another one, or again in a moment"
            self._changed.notify_all()
        deadline = time.monotonic() + CLOSE_SECONDS
        for desk in self._desks:
            await asyncio.to_thread(desk.thread.join, max(0.0, deadline - time.monotonic()))

    def admit(self, images: int) -> Places:
        """Return places for a request's pictures, to be held (`with`) until it is answered, however that ends.

        Raises:
            OverloadedError: there are not that many left.

        """
        return self.admission.places(images)

    async def infer(self, served: ServedModel, source: Source, query: OutputQuery = AS_THEY_ARE) -> Any:
        """Return what is asked of the network's numbers for one picture; the numbers may be known already.

        Args:
            served: the model.
            source: the picture.
            query: by default the numbers themselves, (C,) logits at alpha 0 and (K,) head cosine.

        Raises:
            models.errors.ImageError: no picture, a damaged one, or one that is too large.
            InferenceError: the network failed.
            NotReadyError: the service is shutting down, or no thread is left that could compute.

        """
        key = self.cache.key(served, source) if isinstance(source, bytes) else None
        if key is not None and (known := self.cache.get(served, key)) is not None:
            batch = NetworkOutput(known.logits[None], known.head_cosine[None])
            if query.heavy:
                return (await asyncio.to_thread(query.finish, served, batch, [query.question]))[0]
            return query.finish(served, batch, [query.question])[0]
        waiter = Waiter(query, asyncio.get_running_loop().create_future())
        picture = self._join(served, source, key, waiter)
        try:
            return await waiter.answer
        except asyncio.CancelledError:
            self._leave(picture, waiter)
            raise
        finally:
            del waiter, picture  # or an error, its traceback and this frame would hold each other, the model with them

    def _join(self, served: ServedModel, source: Source, key: Key | None, waiter: Waiter) -> Picture:
        """Wait beside whoever waits for the same picture already, or at the end of the line."""
        if key is not None and (picture := self._asked.get(key)) is not None:
            picture.waiters.append(waiter)
            return picture
        data, pixels = (source, NOTHING) if isinstance(source, bytes) else (b"", source)
        picture = Picture(served, data, pixels, key, [waiter], time.perf_counter_ns())
        decoded = pixels is source or decode_if_small(picture, self._max_pixels)
        with self._changed:
            if self._refusal is not None:
                raise NotReadyError(self._refusal)
            picture.ticket = self._queue.add(served, picture, policy=served.batch_policy, decoded=decoded)
            self._changed.notify()
        if key is not None:
            self._asked[key] = picture
        return picture

    def _leave(self, picture: Picture, waiter: Waiter) -> None:
        picture.waiters.remove(waiter)
        if picture.waiters:
            return
        self._forget(picture)
        with self._changed:
            self._queue.discard(picture.served, picture.ticket)

    def _forget(self, picture: Picture) -> None:
        if picture.key is not None and self._asked.get(picture.key) is picture:
            del self._asked[picture.key]

    def _desk(self, name: str) -> WorkerThread:
        desk = WorkerThread(threading.Thread(name=name, daemon=True, target=lambda: self._serve(desk)))
        return desk

    def _lose(self, desk: WorkerThread, trouble: str) -> None:
        """Tell whoever waits for a thread that is lost; and, once all are, whoever waits at all."""
        log.critical("%s; what it worked on fails, and this process is to be replaced", trouble)
        self._fail(trouble)
        task = desk.task
        desk.lost = True
        if task is not None:
            with self._changed:  # the others may have its slot; should it come back, it is not used any more
                self._queue.finish(task)
                self._changed.notify_all()
            error = InferenceError(f"{trouble}, so this picture has no answer; send it again, to another server")
            self._deliver([task.item] if isinstance(task, Decode) else task.items, error)
        if self._watchdog.nobody_is_left:
            with self._changed:
                self._refusal = f"{trouble}, and so have all others; this process is to be replaced"
                waiting = self._queue.clear()
            self._deliver(waiting, NotReadyError(self._refusal))

    def _serve(self, desk: WorkerThread) -> None:
        """Do one task after the other until the queue is empty and the worker closes; from here on, in the threads."""
        done: list[tuple[Task[ServedModel, Picture], Picture | None]] = []
        try:
            while not desk.lost and (task := self._next(done)) is not None:
                desk.task = task
                if isinstance(task, Decode):
                    done.append((task, self._decode(task.item)))
                else:
                    self._compute_surely(task)
                    done.append((task, None))
                desk.task = None
                del task  # a thread that waits holds no model, which may be out of service and is to be freed
        except BaseException:
            log.exception("thread %s has died of a fault of ours", desk.thread.name)

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
        if decoded is not None and decoded.waiters:
            self._queue.finish(task, decoded)
        else:  # or everybody has left meanwhile
            self._queue.finish(task)

    def _decode(self, picture: Picture) -> Picture | None:
        """Turn the picture's bytes into pixels; None where that cannot be, or nobody waits for it any more."""
        if not picture.waiters:
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
        served = batch.model
        pictures = batch.items
        started = time.perf_counter_ns()
        try:
            images = np.stack([picture.pixels for picture in pictures])
            numbers = NetworkOutput(*served.engine.run(images, alone=batch.alone))
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
            pictures, _Computed(served, numbers, outcomes(served, numbers, [each.waiters.copy() for each in pictures]))
        )
        count_batch(self._metrics, served, pictures, numbers, started, computed)

    def _answer(self, pictures: list[Picture], result: _Computed | Exception) -> None:
        assert self._loop is not None  # noqa: S101  start() set it before any thread began
        self._loop.call_soon_threadsafe(self._deliver, pictures, result)

    def _deliver(self, pictures: list[Picture], result: _Computed | Exception) -> None:
        """Give everybody who asked their answer, and keep the numbers for who asks next; on the event loop again."""
        for picture in pictures:
            self._forget(picture)
        if isinstance(result, Exception):
            settle((waiter, result) for picture in pictures for waiter in picture.waiters)
            return
        settle(result.outcomes)
        for row, picture in enumerate(pictures):
            if picture.key is None:
                continue
            numbers = NetworkOutput(*(part[row : row + 1] for part in result.numbers))
            late = [waiter for waiter in picture.waiters if not waiter.answer.done()]  # joined when all was worked out
            settle(outcomes(result.served, numbers, [[waiter for waiter in late if not waiter.query.heavy]]))
            if heavy := [waiter for waiter in late if waiter.query.heavy]:
                working = asyncio.get_running_loop().run_in_executor(None, outcomes, result.served, numbers, [heavy])
                working.add_done_callback(lambda done: settle(done.result()))
            if is_finite(numbers):
                self.cache.put(picture.key, NetworkOutput(*(part[0] for part in numbers)))
