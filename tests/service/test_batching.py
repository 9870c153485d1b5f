"""The planner promises an order and a size."""

import pytest

from service.batching import BatchQueue


def test_nobody_waits_for_a_batch_to_fill() -> None:
    queue: BatchQueue[str] = BatchQueue(8)
    queue.add("a", "only")
    assert queue.next_batch() == ("a", ["only"])
    assert queue.next_batch() is None


def test_a_batch_is_first_in_first_out_and_bounded() -> None:
    queue: BatchQueue[int] = BatchQueue(3)
    for item in range(5):
        queue.add("a", item)
    assert [queue.next_batch(), queue.next_batch()] == [("a", [0, 1, 2]), ("a", [3, 4])]


def test_the_model_that_waited_longest_goes_next() -> None:
    queue: BatchQueue[int] = BatchQueue(2)
    for model, item in (("a", 0), ("b", 1), ("a", 2), ("a", 3), ("b", 4)):
        queue.add(model, item)
    assert [queue.next_batch() for _ in range(3)] == [("a", [0, 2]), ("b", [1, 4]), ("a", [3])]


def test_who_left_the_line_is_not_computed() -> None:
    queue: BatchQueue[str] = BatchQueue(8)
    gone, _ = queue.add("a", "gone"), queue.add("a", "stays")
    assert queue.discard("a", gone)
    assert len(queue) == 1
    assert queue.next_batch() == ("a", ["stays"])


def test_leaving_twice_or_after_the_batch_changes_nothing() -> None:
    queue: BatchQueue[str] = BatchQueue(8)
    ticket = queue.add("a", "item")
    queue.next_batch()
    assert not queue.discard("a", ticket)
    assert not queue.discard("unknown", ticket)


def test_an_emptied_line_does_not_block_the_others() -> None:
    queue: BatchQueue[str] = BatchQueue(8)
    queue.discard("a", queue.add("a", "gone"))
    queue.add("b", "stays")
    assert queue.next_batch() == ("b", ["stays"])


def test_a_batch_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BatchQueue(0)
