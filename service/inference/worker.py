"""Threads that decode and compute pictures, and one answer for every picture that was accepted.

A picture is accepted (`admit`), queued (`infer`), decoded, and computed as part of a batch. The thread that computes
the batch also computes the answer to every query on its output, for the whole batch at once, so the event loop only
parses requests, sends responses and decodes tiny pictures. If several requests bring the same picture while it is
queued or being computed, it is computed once. A picture whose requests have all been cancelled leaves the queue; if it
is being computed already, its result goes to the cache only.

If the network fails, every picture of that batch is answered with the error. If a picture cannot be decoded, or its
output is not finite, only that picture is. If a thread hangs or dies, the pictures it was working on are answered with
an error, and the process must be replaced (`watchdog.py`). No path leaves a future unresolved.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from engines.base import Pixels
from models.cores import CORES
from models.errors import ImageError
from service.errors import InferenceError, NotReadyError
from service.inference.admission import Admission, AdmissionSlots
from service.inference.batch_computation import ComputedBatch, compute_batch
from service.inference.batch_metrics import count_batch
from service.inference.batching import BatchQueue, Decode, Infer, Task
from service.inference.cache import CacheKey, ResponseCache
from service.inference.network_output import NetworkOutput
from service.inference.picture import NO_PIXELS, SEE_LOG, Picture, decode, decode_if_small
from service.inference.queries import RAW_OUTPUT, OutputQuery, Waiter, answer_waiters, resolve
from service.inference.registry import ServedModel
from service.inference.watchdog import Watchdog, WorkerThread
from service.metrics import Metrics

__all__ = ["Worker"]

log = logging.getLogger("longtail.worker")
CLOSE_SECONDS = 5.0  # the server waits for accepted work before it closes the worker; one batch may still be running
Source = bytes | Pixels  # an encoded picture, or (H, W, 3) uint8 of the model's size


class Worker:
    """Threads in front of the engines, and a bounded queue in front of the threads.

    Args:
        inference_threads: how many batches are computed at a time.
        decode_threads: how many pictures are decoded at a time. The same threads do both; the larger of the two numbers
            is how many there are.
        max_pending_images: maximum number of pictures that are accepted and not answered yet.
        max_pixels: maximum size of an encoded picture, width x height.
        cache: keeps network outputs.
        metrics: the process's metrics.
        stuck_seconds: a thread that works on one task for longer is considered hung; 0 disables this.
        fail: called with the reason when this process must be replaced.

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
        self._changed = threading.Condition()  # guards the queue, `_closing` and `_refusal`
        self._closing = False
        self._refusal: str | None = None  # why no more pictures are accepted
        self.admission = Admission(max_pending_images, metrics)
        self._max_pixels = max_pixels
        self.cache = cache
        self._metrics = metrics
        self._in_flight: dict[CacheKey, Picture] = {}  # queued or being computed; only the event loop uses it
        self._threads = [self._new_thread(f"inference-{i}") for i in range(max(inference_threads, decode_threads))]
        self._watchdog = Watchdog(self._threads, stuck_seconds, self._give_up)
        self._fail = fail
        self._watching: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def pending_images(self) -> int:
        """The number of pictures that are accepted and not answered yet."""
        return self.admission.pending_images

    def start(self) -> None:
        """Start the threads. Call this on the event loop that will await the answers."""
        self._loop = asyncio.get_running_loop()
        for worker_thread in self._threads:
            worker_thread.thread.start()
        self._watching = self._loop.create_task(self._watchdog.run())

    async def close(self) -> None:
        """Finish the queued work, then stop the threads, waiting at most five seconds for a batch in progress."""
        if self._watching is not None:
            self._watching.cancel()
        with self._changed:
            self._closing = True
            self._refusal = self._refusal or "the server is shutting down; try another one, or again in a moment"
            self._changed.notify_all()
        deadline = time.monotonic() + CLOSE_SECONDS
        for worker_thread in self._threads:
            await asyncio.to_thread(worker_thread.thread.join, max(0.0, deadline - time.monotonic()))

    def admit(self, images: int) -> AdmissionSlots:
        """Return slots for a request's pictures, to be held with `with` until the request is answered.

        Raises:
            OverloadedError: fewer slots are free.

        """
        return self.admission.slots(images)

    async def infer(self, served: ServedModel, source: Source, query: OutputQuery = RAW_OUTPUT) -> Any:
        """Return the answer to a query on the network output for one picture; the output may come from the cache.

        Args:
            served: the model.
            source: the picture.
            query: by default the output itself, (C,) logits at alpha 0 and (K,) head cosine.

        Raises:
            models.errors.ImageError: the bytes are not a picture, are damaged, or encode one that is too large.
            InferenceError: the network failed.
            NotReadyError: the server is shutting down, or all threads are lost.

        """
        key = self.cache.key(served, source) if isinstance(source, bytes) else None
        if key is not None and (cached := self.cache.get(served, key)) is not None:
            output = NetworkOutput(cached.logits[None], cached.head_cosine[None])
            if query.heavy:
                return (await asyncio.to_thread(query.answer_batch, served, output, [query.parameters]))[0]
            return query.answer_batch(served, output, [query.parameters])[0]
        waiter = Waiter(query, asyncio.get_running_loop().create_future())
        picture = self._join(served, source, key, waiter)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._leave(picture, waiter)
            raise
        finally:
            del waiter, picture  # else an error, its traceback and this frame form a cycle that keeps the model alive

    def _join(self, served: ServedModel, source: Source, key: CacheKey | None, waiter: Waiter) -> Picture:
        """Add the waiter to the same picture if that is in flight; queue a new picture otherwise."""
        if key is not None and (picture := self._in_flight.get(key)) is not None:
            picture.waiters.append(waiter)
            served.statistics.add_joined()
            return picture
        data, pixels = (source, NO_PIXELS) if isinstance(source, bytes) else (b"", source)
        picture = Picture(served, data, pixels, key, [waiter], time.perf_counter_ns())
        decoded = pixels is source or decode_if_small(picture, self._max_pixels)
        with self._changed:
            if self._refusal is not None:
                raise NotReadyError(self._refusal)
            picture.ticket = self._queue.add(served, picture, policy=served.batch_policy, decoded=decoded)
            self._changed.notify()
        if key is not None:
            self._in_flight[key] = picture
        return picture

    def _leave(self, picture: Picture, waiter: Waiter) -> None:
        """Remove a cancelled waiter, and the picture from the queue if it was the last one."""
        picture.waiters.remove(waiter)
        if picture.waiters:
            return
        self._forget(picture)
        with self._changed:
            self._queue.discard(picture.served, picture.ticket)

    def _forget(self, picture: Picture) -> None:
        """Take a picture out of `_in_flight`."""
        if picture.key is not None and self._in_flight.get(picture.key) is picture:
            del self._in_flight[picture.key]

    def _deliver(self, pictures: list[Picture], result: ComputedBatch | Exception) -> None:
        """Resolve the futures of a batch and cache its output; runs on the event loop."""
        for picture in pictures:
            self._forget(picture)
        if isinstance(result, Exception):
            resolve((waiter, result) for picture in pictures for waiter in picture.waiters)
            return
        resolve(result.outcomes)
        for row, picture in enumerate(pictures):
            if picture.key is None:
                continue
            output = NetworkOutput(*(part[row : row + 1] for part in result.output))
            self._answer_late(result.served, output, picture)
            if output.is_finite:
                self.cache.put(picture.key, NetworkOutput(*(part[0] for part in output)))

    def _answer_late(self, served: ServedModel, output: NetworkOutput, picture: Picture) -> None:
        """Answer the waiters that joined the picture after its batch's outcomes were computed."""
        late = [waiter for waiter in picture.waiters if not waiter.future.done()]
        resolve(answer_waiters(served, output, [[waiter for waiter in late if not waiter.query.heavy]]))
        if heavy := [waiter for waiter in late if waiter.query.heavy]:
            computing = asyncio.get_running_loop().run_in_executor(None, answer_waiters, served, output, [heavy])
            computing.add_done_callback(lambda done: resolve(done.result()))

    def _give_up(self, worker_thread: WorkerThread, reason: str) -> None:
        """Fail the task of a thread that is lost and, if it was the last thread, everything that is queued."""
        log.critical("%s; its pictures fail, and this process must be replaced", reason)
        self._fail(reason)
        task = worker_thread.task
        worker_thread.lost = True
        if task is not None:
            with (
                self._changed
            ):  # frees its slot for the other threads; if the thread comes back, it takes no more tasks
                self._queue.finish(task)
                self._changed.notify_all()
            error = InferenceError(f"{reason}, so this picture has no answer; send it again, to another server")
            self._deliver([task.item] if isinstance(task, Decode) else task.items, error)
        if self._watchdog.all_lost:
            with self._changed:
                self._refusal = f"{reason}, and no other worker thread is left; this process must be replaced"
                queued = self._queue.clear()
            self._deliver(queued, NotReadyError(self._refusal))

    # What follows runs in the worker threads.

    def _new_thread(self, name: str) -> WorkerThread:
        thread = threading.Thread(name=name, daemon=True, target=lambda: self._run_tasks(worker_thread))
        worker_thread = WorkerThread(thread)
        return worker_thread

    def _run_tasks(self, worker_thread: WorkerThread) -> None:
        """Take and run tasks until the worker is closing and the queue is empty."""
        done: list[tuple[Task[ServedModel, Picture], Picture | None]] = []
        try:
            while not worker_thread.lost and (task := self._next_task(done)) is not None:
                worker_thread.task = task
                if isinstance(task, Decode):
                    done.append((task, self._decode(task.item)))
                else:
                    self._compute(task)
                    done.append((task, None))
                worker_thread.task = None
                del task  # an idle thread must not keep a model alive that has been unloaded
        except BaseException:
            log.exception("unexpected error: thread %s has died", worker_thread.thread.name)

    def _next_task(
        self, done: list[tuple[Task[ServedModel, Picture], Picture | None]]
    ) -> Task[ServedModel, Picture] | None:
        """Report the task in `done`, which empties the list, and wait for the next task; None when the worker closes.

        One lock acquisition covers both.
        """
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
        else:  # a batch, or a picture that failed or whose requests were cancelled meanwhile
            self._queue.finish(task)

    def _decode(self, picture: Picture) -> Picture | None:
        """Decode the picture; None if it cannot be decoded, or no request waits for it any more."""
        if not picture.waiters:
            return None
        try:
            decode(picture, self._max_pixels)
        except (ImageError, InferenceError) as error:
            error.__cause__ = error.__context__ = None  # their frames refer to the picture, and it to its waiters
            self._post([picture], error.with_traceback(None))
            return None
        return picture

    def _compute(self, batch: Infer[ServedModel, Picture]) -> None:
        """Compute a batch and post its result; an unexpected error becomes the result."""
        try:
            result = compute_batch(batch)
            self._post(batch.items, result)
            if isinstance(result, ComputedBatch):
                count_batch(self._metrics, result, batch.items)
        except Exception:
            log.exception("the answers of model %s could not be computed", batch.model.name)
            self._post(batch.items, InferenceError(f"the answer could not be computed; {SEE_LOG}"))

    def _post(self, pictures: list[Picture], result: ComputedBatch | Exception) -> None:
        """Hand a result over to the event loop."""
        assert self._loop is not None  # noqa: S101  start() sets it before it starts any thread
        self._loop.call_soon_threadsafe(self._deliver, pictures, result)
