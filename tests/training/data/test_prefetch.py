"""Prefetched items come in order, a bounded number ahead, and the thread ends with its consumer."""

import threading
from collections.abc import Iterator

import pytest

from training.data.prefetch import prefetch


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


class Source:
    """An iterable that counts its items, and records when each was computed and whether it was closed."""

    def __init__(self, count: int, fail_at: int | None = None) -> None:
        self.count = count
        self.fail_at = fail_at
        self.made = 0
        self.closed = False
        self.thread = ""
        self.has_made = [threading.Event() for _ in range(count + 1)]

    def __iter__(self) -> Iterator[int]:
        try:
            for number in range(self.count):
                if number == self.fail_at:
                    raise OSError(f"item {number} is broken")
                self.thread = threading.current_thread().name
                self.made += 1
                self.has_made[number].set()
                yield number
        finally:
            self.closed = True


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_all_items_come_in_order(count: int, depth: int) -> None:
    assert list(prefetch(Source(count), depth)) == list(range(count))
    assert not threads()


@pytest.mark.parametrize("depth", [1, 2])
def test_up_to_depth_items_are_computed_ahead(depth: int) -> None:
    source = Source(10)
    items = prefetch(source, depth)
    for number in range(4):
        assert next(items) == number
        assert source.has_made[number + depth].wait(10)  # computed before it is asked for
        assert not source.has_made[number + depth + 1].wait(0.02)
    items.close()
    assert source.thread.startswith("prefetch")


def test_nothing_is_computed_before_the_first_item_is_asked_for() -> None:
    source = Source(3)
    prefetch(source)
    assert source.made == 0


def test_an_error_is_raised_in_place_of_its_item() -> None:
    source = Source(5, fail_at=2)
    items = prefetch(source)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(OSError, match="item 2 is broken"):
        next(items)
    assert source.closed
    assert not threads()


def test_a_consumer_that_stops_early_ends_the_thread() -> None:
    source = Source(100)
    items = prefetch(source, depth=2)
    next(items)
    items.close()
    assert source.closed
    assert source.made <= 4
    assert not threads()


def test_a_consumer_that_fails_ends_the_thread() -> None:
    source = Source(100)

    def work() -> None:
        for item in prefetch(source):
            raise KeyError(item)

    with pytest.raises(KeyError):
        work()
    assert source.closed
    assert not threads()


def test_a_depth_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="depth 0"):
        prefetch([1], depth=0)
