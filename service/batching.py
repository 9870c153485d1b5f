"""Who goes into the next batch: a pure queue, no clock, no threads, no asyncio.

Continuous batching: whoever waits when a caller becomes free is the next batch, whatever their alpha. Nothing waits for
a batch to fill up, so an idle server adds no delay; under load batches grow by themselves. A batch holds images of one
model; the model whose first image has waited longest goes next, so no model starves another.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["BatchQueue"]

Item = TypeVar("Item")


class BatchQueue(Generic[Item]):
    """Images that wait, first in first out per model.

    Args:
        max_batch_images: most images in one batch.
    """

    def __init__(self, max_batch_images: int) -> None:
        if max_batch_images < 1:
            raise ValueError(f"a batch of at most {max_batch_images} images can never be computed; at least 1")
        self._max_batch = max_batch_images
        self._next_ticket = 0
        self._waiting: dict[str, OrderedDict[int, Item]] = {}

    def __len__(self) -> int:
        """Return how many images wait."""
        return sum(map(len, self._waiting.values()))

    def add(self, model: str, item: Item) -> int:
        """Put an image at the end of its model's line; return the ticket that takes it out again."""
        ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
        self._waiting.setdefault(model, OrderedDict())[ticket] = item
        return ticket

    def discard(self, model: str, ticket: int) -> bool:
        """Take an image out of the line; False where it is not there any more (it is being computed, or was)."""
        line = self._waiting.get(model, OrderedDict())
        found = line.pop(ticket, None) is not None
        if found and not line:
            del self._waiting[model]
        return found

    def next_batch(self) -> tuple[str, list[Item]] | None:
        """Take the next batch out of the line, or return None where nobody waits."""
        if not self._waiting:
            return None
        model = min(self._waiting, key=lambda name: next(iter(self._waiting[name])))
        line = self._waiting[model]
        batch = [line.popitem(last=False)[1] for _ in range(min(self._max_batch, len(line)))]
        if not line:
            del self._waiting[model]
        return model, batch
