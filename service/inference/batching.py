"""The queue that decides what a thread does next: decode a picture or compute a batch.

The queue is pure logic, without a clock, threads or numpy.

Continuous batching: the pictures that are ready when a thread becomes free form the next batch, whatever their alpha.
No batch waits until it is full, so an idle server adds no delay, and under load batches grow by themselves. The same
threads decode and compute, so each picture is handed over only once and no core waits for another core's decoder.

A batch contains pictures of one model. The model whose first picture has waited longest goes next, so no model starves
another. A batch is no larger than its model benefits from, and no larger than a fair share of the ready pictures: if
one thread took all of them, the next thread would be idle and the pictures at the end would wait longer.

There may be more slots for batches than cores (`spare`). Then no core is idle while a thread hands over answers or
waits for the interpreter lock. With a fast network this is a large part of the time, so a spare slot takes any batch.
With a slow network the batches would only delay each other, so a spare slot takes full batches only.

A batch that is alone may use several cores (`Infer.alone`): nothing else is queued or running, and this was so for the
eight batches before it. With eight clients there are moments when nothing else is queued, but a batch that is spread
over the cores then takes longer than on one core, because the other clients' work interferes (benchmarks/RESULTS.md).
With one client there is no other work.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

__all__ = ["ALONE_BEFORE", "BatchPolicy", "BatchQueue", "Decode", "Infer", "Task"]

ALONE_BEFORE = 8  # consecutive batches that must have been alone; with two clients this is rare
Model = TypeVar("Model")
Item = TypeVar("Item")


class BatchPolicy(NamedTuple):
    """How a model's pictures are batched; `warm_up.py` measures it.

    Args:
        max_images: maximum size of a batch; a larger one brings no benefit.
        fast: an image takes so little time that handing it over matters; spare slots take batches that are not full.

    """

    max_images: int
    fast: bool = False


class Decode(NamedTuple, Generic[Model, Item]):
    """Decode one picture, then return it to the queue with `finish`."""

    model: Model
    ticket: int
    item: Item
    policy: BatchPolicy


class Infer(NamedTuple, Generic[Model, Item]):
    """Compute these pictures together; `alone` if there has been no other work for a while (see above)."""

    model: Model
    items: list[Item]
    alone: bool


Task = Decode[Model, Item] | Infer[Model, Item]


@dataclass(slots=True)
class _ModelQueue(Generic[Item]):
    """The pictures of one model by ticket: the encoded ones, and those that are ready to be computed."""

    policy: BatchPolicy
    encoded: OrderedDict[int, Item] = field(default_factory=OrderedDict)
    ready: OrderedDict[int, Item] = field(default_factory=OrderedDict)

    @property
    def first_ticket(self) -> int:
        return min(next(iter(part)) for part in (self.encoded, self.ready) if part)


class BatchQueue(Generic[Model, Item]):
    """The queued pictures, first in, first out for each model.

    Args:
        slots: maximum number of batches that are computed at a time.
        spare: how many of the slots exceed the number of cores.

    """

    def __init__(self, slots: int, spare: int = 0) -> None:
        if slots - spare < 1:
            raise ValueError(
                f"{slots} slots of which {spare} are spare leave {slots - spare}; at least 1 slot must not be spare"
            )
        self._slots = slots
        self._spare = spare
        self._next_ticket = 0
        self._decoding = 0
        self._inferring = 0
        self._alone_in_a_row = 0
        self._queues: dict[Model, _ModelQueue[Item]] = {}

    def __len__(self) -> int:
        """Return how many pictures are queued."""
        return sum(len(queue.encoded) + len(queue.ready) for queue in self._queues.values())

    def add(self, model: Model, item: Item, *, policy: BatchPolicy, decoded: bool) -> int:
        """Append a picture to its model's queue, and return the ticket with which it can be discarded.

        Args:
            model: the model.
            item: the picture.
            policy: the model's policy.
            decoded: whether the picture is decoded already.

        """
        ticket = self._next_ticket
        self._next_ticket += 1
        self._put(model, ticket, item, policy=policy, decoded=decoded)
        return ticket

    def discard(self, model: Model, ticket: int) -> bool:
        """Remove a picture, and return whether it was still queued; otherwise a thread has taken it."""
        queue = self._queues.get(model)
        if queue is None:
            return False
        found = any(part.pop(ticket, None) is not None for part in (queue.encoded, queue.ready))
        self._drop_if_empty(model)
        return found

    def clear(self) -> list[Item]:
        """Remove all pictures, and return them."""
        items = [
            item for queue in self._queues.values() for part in (queue.encoded, queue.ready) for item in part.values()
        ]
        self._queues.clear()
        return items

    def next_task(self) -> Task[Model, Item] | None:
        """Return the next task, or None if there is nothing to do at present.

        The thread calls `finish` when the task is done.
        """
        free = self._slots - self._inferring
        for model in sorted(self._queues, key=lambda queued: self._queues[queued].first_ticket):
            queue = self._queues[model]
            max_images, fast = queue.policy
            if queue.encoded and len(queue.ready) < max_images * max(free, 1):
                ticket, item = queue.encoded.popitem(last=False)
                self._decoding += 1
                self._drop_if_empty(model)
                return Decode(model, ticket, item, queue.policy)
            usable = free if fast or len(queue.ready) >= max_images else free - self._spare
            if queue.ready and usable > 0:
                share = -(-len(queue.ready) // usable)  # rounded up
                items = [queue.ready.popitem(last=False)[1] for _ in range(min(max_images, share))]
                self._drop_if_empty(model)
                other_work = bool(self._queues or self._decoding or self._inferring)
                self._alone_in_a_row = 0 if other_work else self._alone_in_a_row + 1
                self._inferring += 1
                return Infer(model, items, alone=self._alone_in_a_row > ALONE_BEFORE)
        return None

    def finish(self, task: Task[Model, Item], decoded: Item | None = None) -> None:
        """Mark a task as done.

        Args:
            task: the task.
            decoded: the picture that was decoded, which is ready now; None if it could not be decoded or is not needed.

        """
        if isinstance(task, Infer):
            self._inferring -= 1
            return
        self._decoding -= 1
        if decoded is not None:
            self._put(task.model, task.ticket, decoded, policy=task.policy, decoded=True)

    def _put(self, model: Model, ticket: int, item: Item, *, policy: BatchPolicy, decoded: bool) -> None:
        queue = self._queues.get(model)
        if queue is None:
            queue = self._queues[model] = _ModelQueue(policy)
        (queue.ready if decoded else queue.encoded)[ticket] = item

    def _drop_if_empty(self, model: Model) -> None:
        queue = self._queues[model]
        if not queue.encoded and not queue.ready:
            del self._queues[model]
