"""What a thread does next, decode a picture or compute a batch: a pure queue, no clock, no threads, no numpy.

Continuous batching: who is ready when a thread becomes free is the next batch, whatever their alpha. Nothing waits for
a batch to fill up, so an idle server adds no delay; under load batches grow by themselves. The same threads decode and
compute, so that a picture is handed over once and no core waits for another's decoder.

A batch holds pictures of one model; the model whose first picture has waited longest goes next, so no model starves
another. It is never more than the model gains from, nor more than a fair share of what is ready: taking all of it
would leave the next thread idle, and make who waits behind it wait longer.

There may be more batches at a time than cores (`spare`): a thread that hands answers over, or waits for the
interpreter, then leaves no core idle. With a fast network that is a good part of the time, so the spare ones take what
there is; with a slow one they only would make several batches wait for each other, so they take full batches only.

A batch that is alone may take several cores (`Infer.alone`): nothing beside it, nor beside the eight before it. Among
eight clients there are moments in which nothing else waits, and a batch spread over the cores then took longer than on
one, as the others' work came in between (benchmarks/RESULTS.md); with one client there are no others.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

__all__ = ["ALONE_BEFORE", "BatchPolicy", "BatchQueue", "Decode", "Infer", "Task"]

ALONE_BEFORE = 8  # batches in a row that were alone; with two clients that is rare
Model = TypeVar("Model")
Item = TypeVar("Item")


class BatchPolicy(NamedTuple):
    """How pictures of a model are best put together; measured, see warm_up.py.

    Args:
        max_images: no larger batch is worth it.
        fast: an image takes so little that handing it over counts; such a model fills spare slots with what there is.

    """

    max_images: int
    fast: bool = False


class Decode(NamedTuple, Generic[Model, Item]):
    """Turn one picture's bytes into pixels, then bring it back with `finish`."""

    model: Model
    ticket: int
    item: Item
    policy: BatchPolicy


class Infer(NamedTuple, Generic[Model, Item]):
    """Compute these pictures together; `alone` where there has been nothing else to do for a while (see above)."""

    model: Model
    items: list[Item]
    alone: bool


Task = Decode[Model, Item] | Infer[Model, Item]


@dataclass(slots=True)
class _ModelQueue(Generic[Item]):
    """The pictures of one model by ticket: those still encoded, and those ready to be computed."""

    policy: BatchPolicy
    encoded: OrderedDict[int, Item] = field(default_factory=OrderedDict)
    ready: OrderedDict[int, Item] = field(default_factory=OrderedDict)

    @property
    def first_ticket(self) -> int:
        return min(next(iter(part)) for part in (self.encoded, self.ready) if part)


class BatchQueue(Generic[Model, Item]):
    """Pictures that wait, first in first out per model.

    Args:
        slots: most batches computed at a time.
        spare: of these, how many are more than there are cores.

    """

    def __init__(self, slots: int, spare: int = 0) -> None:
        if slots - spare < 1:
            raise ValueError(f"with {slots - spare} batches at a time little is ever computed; at least 1")
        self._slots = slots
        self._spare = spare
        self._next_ticket = 0
        self._decoding = self._inferring = 0
        self._alone_in_a_row = 0
        self._lines: dict[Model, _ModelQueue[Item]] = {}

    def __len__(self) -> int:
        """Return how many pictures wait."""
        return sum(len(line.encoded) + len(line.ready) for line in self._lines.values())

    def add(self, model: Model, item: Item, *, policy: BatchPolicy, decoded: bool) -> int:
        """Put a picture at the end of its model's line; return the ticket that takes it out again.

        Args:
            model: whose line.
            item: the picture.
            policy: its model's.
            decoded: it is pixels already.

        """
        ticket = self._next_ticket
        self._next_ticket = self._next_ticket + 1
        self._put(model, ticket, item, policy=policy, decoded=decoded)
        return ticket

    def discard(self, model: Model, ticket: int) -> bool:
        """Take a picture out of the line; False where it is not there any more (it is being worked on, or was)."""
        line = self._lines.get(model)
        if line is None:
            return False
        found = any(part.pop(ticket, None) is not None for part in (line.encoded, line.ready))
        self._drop_if_empty(model)
        return found

    def clear(self) -> list[Item]:
        """Take all pictures out of their lines, and return them."""
        waiting = [
            item for line in self._lines.values() for part in (line.encoded, line.ready) for item in part.values()
        ]
        self._lines.clear()
        return waiting

    def next_task(self) -> Task[Model, Item] | None:
        """Take what is to be done next, or return None where a thread can only wait.

        A thread calls `finish` when it has done it.
        """
        free = self._slots - self._inferring
        for model in sorted(self._lines, key=lambda each: self._lines[each].first_ticket):
            line = self._lines[model]
            most, fast = line.policy
            if line.encoded and len(line.ready) < most * max(free, 1):
                ticket, item = line.encoded.popitem(last=False)
                self._decoding += 1
                self._drop_if_empty(model)
                return Decode(model, ticket, item, line.policy)
            ours = free if fast or len(line.ready) >= most else free - self._spare
            if line.ready and ours > 0:
                share = -(-len(line.ready) // ours)
                items = [line.ready.popitem(last=False)[1] for _ in range(min(most, share))]
                self._drop_if_empty(model)
                beside = bool(self._lines or self._decoding or self._inferring)
                self._alone_in_a_row = 0 if beside else self._alone_in_a_row + 1
                self._inferring += 1
                return Infer(model, items, alone=self._alone_in_a_row > ALONE_BEFORE)
        return None

    def finish(self, task: Task[Model, Item], decoded: Item | None = None) -> None:
        """Say that a task is done; a picture that was decoded joins those that are ready, None leaves the line."""
        if isinstance(task, Infer):
            self._inferring -= 1
            return
        self._decoding -= 1
        if decoded is not None:
            self._put(task.model, task.ticket, decoded, policy=task.policy, decoded=True)

    def _put(self, model: Model, ticket: int, item: Item, *, policy: BatchPolicy, decoded: bool) -> None:
        line = self._lines.get(model)
        if line is None:
            line = self._lines[model] = _ModelQueue(policy)
        (line.ready if decoded else line.encoded)[ticket] = item

    def _drop_if_empty(self, model: Model) -> None:
        line = self._lines[model]
        if not line.encoded and not line.ready:
            del self._lines[model]
