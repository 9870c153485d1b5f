"""The queue decides the order and size of batches, and leaves no thread idle by giving everything to another."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.inference.batching import ALONE_BEFORE, BatchPolicy, BatchQueue, Decode, Infer


def ready(queue: BatchQueue[str, int], model: str, *items: int, max_batch: int = 8) -> list[int]:
    return [queue.add(model, item, policy=BatchPolicy(max_batch), decoded=True) for item in items]


def taken(queue: BatchQueue[str, int]) -> tuple[str, list[int]] | None:
    """Take the next batch and finish it."""
    task = queue.next_task()
    if task is None:
        return None
    assert isinstance(task, Infer)
    queue.finish(task)
    return task.model, task.items


def test_a_batch_does_not_wait_until_it_is_full() -> None:
    queue: BatchQueue[str, int] = BatchQueue(1)
    ready(queue, "a", 0)
    assert [taken(queue), taken(queue)] == [("a", [0]), None]


def test_a_batch_is_first_in_first_out_and_bounded() -> None:
    queue: BatchQueue[str, int] = BatchQueue(1)
    ready(queue, "a", *range(5), max_batch=3)
    assert [taken(queue), taken(queue)] == [("a", [0, 1, 2]), ("a", [3, 4])]


def test_the_model_that_waited_longest_goes_next() -> None:
    queue: BatchQueue[str, int] = BatchQueue(1)
    for model, item in (("a", 0), ("b", 1), ("a", 2), ("a", 3), ("b", 4)):
        ready(queue, model, item, max_batch=2)
    assert [taken(queue) for _ in range(3)] == [("a", [0, 2]), ("b", [1, 4]), ("a", [3])]


def test_two_threads_share_what_is_ready() -> None:
    queue: BatchQueue[str, int] = BatchQueue(2)
    ready(queue, "a", *range(7))
    first = queue.next_task()
    second = queue.next_task()
    assert isinstance(first, Infer)
    assert isinstance(second, Infer)
    assert (first.items, second.items) == ([0, 1, 2, 3], [4, 5, 6])


def test_decoding_continues_while_all_slots_are_taken() -> None:
    queue: BatchQueue[str, int] = BatchQueue(1)
    ready(queue, "a", 0)
    computing = queue.next_task()
    ready(queue, "a", 1)
    queue.add("a", 2, policy=BatchPolicy(8), decoded=False)
    decoding = queue.next_task()
    idle = queue.next_task()
    assert isinstance(computing, Infer)
    assert (type(decoding), idle) == (Decode, None)
    queue.finish(computing)
    assert taken(queue) == ("a", [1])


def test_pictures_are_decoded_until_a_batch_is_full() -> None:
    queue: BatchQueue[str, int] = BatchQueue(1)
    for item in range(5):
        queue.add("a", item, policy=BatchPolicy(3), decoded=False)
    for _ in range(3):
        task = queue.next_task()
        assert isinstance(task, Decode)
        queue.finish(task, task.item)
    assert taken(queue) == ("a", [0, 1, 2])
    assert len(queue) == 2


def test_a_picture_that_cannot_be_decoded_leaves_the_queue() -> None:
    queue: BatchQueue[str, int] = BatchQueue(1)
    queue.add("a", 0, policy=BatchPolicy(8), decoded=False)
    task = queue.next_task()
    assert task is not None
    queue.finish(task, None)
    assert (len(queue), queue.next_task()) == (0, None)


def test_a_batch_is_alone_if_there_was_no_other_work_for_it_and_those_before_it() -> None:
    queue: BatchQueue[str, int] = BatchQueue(2)

    def take_only() -> Infer[str, int]:
        ready(queue, "a", 0)
        task = queue.next_task()
        assert isinstance(task, Infer)
        return task

    for _ in range(2):
        for _ in range(ALONE_BEFORE):
            task = take_only()
            assert not task.alone
            queue.finish(task)
        first = take_only()
        beside = take_only()
        assert (first.alone, beside.alone) == (True, False)
        queue.finish(first)
        queue.finish(beside)


def test_a_spare_slot_takes_full_batches_only() -> None:
    queue: BatchQueue[str, int] = BatchQueue(2, spare=1)
    ready(queue, "a", 0, 1, 2, max_batch=2)
    first = queue.next_task()
    assert isinstance(first, Infer)
    assert first.items == [0, 1]
    assert queue.next_task() is None
    ready(queue, "a", 3, max_batch=2)
    second = queue.next_task()
    assert isinstance(second, Infer)
    assert second.items == [2, 3]


def test_a_spare_slot_takes_any_batch_of_a_fast_model() -> None:
    queue: BatchQueue[str, int] = BatchQueue(2, spare=1)
    queue.add("a", 0, policy=BatchPolicy(2, fast=True), decoded=True)
    assert taken(queue) == ("a", [0])
    queue.add("a", 1, policy=BatchPolicy(2, fast=True), decoded=True)
    assert taken(queue) == ("a", [1])
    assert queue.next_task() is None


def test_a_discarded_picture_is_not_computed() -> None:
    queue: BatchQueue[str, int] = BatchQueue(1)
    discarded, _ = ready(queue, "a", 0, 1)
    assert queue.discard("a", discarded)
    assert len(queue) == 1
    assert taken(queue) == ("a", [1])


def test_discarding_a_picture_that_is_not_queued_changes_nothing() -> None:
    queue: BatchQueue[str, int] = BatchQueue(1)
    (ticket,) = ready(queue, "a", 0)
    taken(queue)
    assert not queue.discard("a", ticket)
    assert not queue.discard("unknown", ticket)


def test_an_empty_queue_does_not_block_other_models() -> None:
    queue: BatchQueue[str, int] = BatchQueue(1)
    queue.discard("a", *ready(queue, "a", 0))
    ready(queue, "b", 1)
    assert taken(queue) == ("b", [1])


def test_a_queue_without_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BatchQueue(0)


@given(
    arrivals=st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=40),
    slots=st.integers(1, 3),
    spare=st.integers(0, 2),
    policy=st.builds(BatchPolicy, st.integers(1, 5), st.booleans()),
    order=st.randoms(use_true_random=False),
)
def test_every_picture_is_computed_exactly_once_in_any_order_of_events(
    arrivals: list[tuple[str, bool]], slots: int, spare: int, policy: BatchPolicy, order: Random
) -> None:
    queue: BatchQueue[str, int] = BatchQueue(slots, min(spare, slots - 1))
    for item, (model, decoded) in enumerate(arrivals):
        queue.add(model, item, policy=policy, decoded=decoded)
    computed: list[tuple[str, int]] = []
    running = []
    while True:
        task = queue.next_task() if len(running) < slots + 1 else None
        if task is not None:
            running.append(task)
            continue
        if not running:
            break
        done = running.pop(order.randrange(len(running)))
        if isinstance(done, Infer):
            assert 1 <= len(done.items) <= policy.max_images
            computed += [(done.model, item) for item in done.items]
            queue.finish(done)
        else:
            queue.finish(done, done.item)
    assert sorted(item for _, item in computed) == list(range(len(arrivals)))
    assert all(arrivals[item][0] == model for model, item in computed)
    assert len(queue) == 0
