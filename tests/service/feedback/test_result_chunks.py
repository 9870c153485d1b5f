"""Chunks: after any sequence of writes, failures and deletions by several processes, an id finds its result."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event

from service.feedback import result_chunks as chunks
from service.feedback.kept_results import KeptResults
from service.feedback.result_chunks import KeptResult
from service.metrics import Metrics
from service.result_ids import new_result_id, time_of
from service.storage.database import Database, StorageUnavailableError
from service.storage.tables import kept_chunks
from tests.service.feedback.test_kept_results import NOW, LostAnswers, find, id_at, result, rows

KEEP = 5
KEEP_SECONDS = 2.0
PROCESSES = 3
process = st.integers(0, PROCESSES - 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), process, st.sampled_from("ab"), st.integers(0, 20)),  # ms before now
        st.tuples(st.sampled_from(["write", "write, confirmation lost", "trim"]), process),
        st.tuples(st.just("wait"), st.sampled_from([1, 300, 990, 1500])),  # ms
    ),
    max_size=40,
)


class Processes:
    """Several processes that share a database and a clock, and the results they should find."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOW
        database.run_sync(lambda connection: connection.execute(delete(kept_chunks)))
        options: dict[str, Any] = {"keep": KEEP, "keep_seconds": KEEP_SECONDS, "clock": lambda: self.now}
        self.all = [KeptResults(database, Metrics(), **options) for _ in range(PROCESSES)]
        self.given: dict[str, KeptResult] = {}
        self.waiting: list[set[str]] = [set() for _ in self.all]
        self.written: set[str] = set()

    def step(self, what: str, *arguments: Any) -> None:
        match what:
            case "add":
                number, model, before = arguments
                one = result(self.now - before / 1000, model=model, seed=len(self.given))
                self.all[number].add(one)
                self.given[one.id] = one
                self.waiting[number].add(one.id)
            case "write":
                self.all[arguments[0]].flush()
                self.written |= self.waiting[arguments[0]]
                self.waiting[arguments[0]].clear()
            case "write, confirmation lost":
                kept = self.all[arguments[0]]
                vars(kept)["_database"] = LostAnswers(self.database)
                with suppress(StorageUnavailableError):
                    kept.flush()
                vars(kept)["_database"] = self.database
            case "trim":
                self.all[arguments[0]].delete_old()
            case "wait":
                self.now = round(self.now + arguments[0] / 1000, 3)

    def fresh(self, result_id: str) -> bool:
        return self.now - time_of(result_id) <= KEEP_SECONDS


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_in_any_order_exactly_the_kept_results_are_found_and_stored_once(database: Database, steps: list[Any]) -> None:
    processes = Processes(database)
    for step in steps:
        processes.step(*step)
    there = rows(database)
    ids = list(processes.given)
    assert len(there) == len(set(there))
    assert set(there) <= processes.given.keys()
    for model in "ab":
        mine = sorted(i for i in processes.written if processes.given[i].model == model)
        assert {i for i in mine[-KEEP:] if processes.fresh(i)} <= set(there)
    for kept, waiting in zip(processes.all, processes.waiting, strict=True):
        found = find(database, kept, *ids, *(new_result_id() for _ in range(3)))
        assert found.keys() == {i for i in {*there, *waiting} if processes.fresh(i)}
        for result_id, one in found.items():
            assert one[:6] == processes.given[result_id][:6]
            assert np.array_equal(one.logits, processes.given[result_id].logits)
            assert np.array_equal(one.head_cosine, processes.given[result_id].head_cosine)
        horizon = database.run_sync(kept.horizon)
        assert all(time_of(i) < horizon for i in processes.written - found.keys())  # so it is expired, not unknown


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, before=st.integers(0, 2500))
def test_traffic_and_predictions_are_those_of_the_kept_results(
    database: Database, steps: list[Any], before: int
) -> None:
    processes = Processes(database)
    for step in steps:
        processes.step(*step)
    for number in range(PROCESSES):
        processes.step("write", number)
    since = round(processes.now - before / 1000, 3)
    kept = processes.all[0]
    mine = [processes.given[i] for i in rows(database) if processes.given[i].model == "a" and processes.fresh(i)]
    mine = [each for each in mine if time_of(each.id) >= since]
    logits, cosine = kept.recent_traffic("a", 1, since)
    assert logits.tolist() == [each.logits.tolist() for each in mine]
    assert cosine.tolist() == [each.head_cosine.tolist() for each in mine]
    counted = database.run_sync(lambda connection: kept.predictions(connection, "a", 1, since))
    expected: dict[tuple[int, int], int] = {}
    for each in mine:
        pair = each.predicted, each.plain
        expected[pair] = expected.get(pair, 0) + 1
    assert {(predicted, plain): images for predicted, plain, images in counted.tolist()} == expected


@pytest.fixture
def kept(database: Database) -> KeptResults:
    return KeptResults(database, Metrics(), keep=1000, keep_seconds=3600.0, clock=lambda: NOW)


def test_chunks_of_two_processes_with_the_same_time_are_distinguished(database: Database, kept: KeptResults) -> None:
    other = KeptResults(database, Metrics(), keep=1000, keep_seconds=3600.0, clock=lambda: NOW)
    mine = [result(NOW + i / 100, seed=i) for i in range(20)]
    for i, each in enumerate(mine):
        (kept, other)[i % 2].add(each)
    for each in (kept, other):
        each.flush()
    found = find(database, kept, *(one.id for one in mine))
    assert all(np.array_equal(found[one.id].logits, one.logits) for one in mine)


def test_ids_at_a_chunks_first_and_last_millisecond_are_found_and_their_neighbours_are_not(
    database: Database, kept: KeptResults
) -> None:
    mine = [result(NOW + at) for at in (0.0, 0.5, 0.999, 1.0, 1.001)]  # two seconds, so two chunks
    for each in mine:
        kept.add(each)
    kept.flush()
    never = [id_at(NOW + at) for at in (-0.001, 0.0, 0.001, 0.999, 1.0, 1.001, 1.002)]
    almost = [one.id[:-1] + ("0" if one.id[-1] != "0" else "1") for one in mine]
    for each in mine:  # each alone, then all together
        assert find(database, kept, each.id).keys() == {each.id}
    assert find(database, kept, *never, *almost, *(one.id for one in mine)).keys() == {one.id for one in mine}


def test_bytes_across_two_ids_are_not_an_id(database: Database, kept: KeptResults) -> None:
    time = id_at(NOW)[:12]
    halves = [f"{time}7{number:03x}" for number in range(4)]
    one = halves[0] + halves[1]
    other = halves[2] + halves[3]
    across = halves[1] + halves[2]
    for result_id in (one, other):
        kept.add(result()._replace(id=result_id))
    kept.flush()
    assert find(database, kept, across, other).keys() == {other}


@pytest.mark.parametrize("milliseconds", [0, 2**47, 2**48 - 1])
def test_hostile_ids_find_nothing_and_hide_nothing(database: Database, kept: KeptResults, milliseconds: int) -> None:
    kept.add(mine := result())
    kept.flush()
    hostile = [f"{milliseconds:012x}7000800000000000000{i}" for i in range(10)]
    assert find(database, kept, *hostile) == {}
    assert find(database, kept, *hostile, mine.id).keys() == {mine.id}


def test_an_unknown_id_costs_one_query_for_the_ids_of_its_time(database: Database, kept: KeptResults) -> None:
    for second in range(20):
        for _ in range(3):
            kept.add(result(NOW - second))
        kept.flush()
    queries: list[tuple[str, Any]] = []
    event.listen(database._engine, "before_cursor_execute", lambda *arguments: queries.append(arguments[2:4]))
    assert find(database, kept, id_at(NOW - 7.0)) == {}
    (query, values), *more = [each for each in queries if "SELECT" in each[0]]
    assert not more
    assert "logits" not in query
    assert len(database.run_sync(lambda connection: connection.exec_driver_sql(query, values).all())) == 1


def test_chunks_are_bounded_in_bytes() -> None:
    wide = [result(NOW + i / 1000, classes=1000) for i in range(100)]
    narrow = [result(NOW + i / 1000) for i in range(100)]
    packed = chunks.pack([*wide, *narrow])
    assert [row["images"] for row in packed] == [32, 32, 32, 4, 100]  # another shape means another network
    assert max(len(row["logits"]) + len(row["head_cosine"]) for row in packed) <= chunks.MAX_CHUNK_BYTES
    assert [row["images"] for row in chunks.pack([result(classes=100_000) for _ in range(2)])] == [1, 1]


@given(st.lists(st.integers(0, 2**48 - 1), min_size=1))
def test_packed_ids_have_the_same_times_as_the_ids(milliseconds: list[int]) -> None:
    ids = [f"{each:012x}{new_result_id()[12:]}" for each in milliseconds]
    assert chunks._times(bytes.fromhex("".join(ids))).tolist() == [time_of(each) for each in ids]


def test_results_that_cannot_be_packed_are_refused_together(kept: KeptResults) -> None:
    bad: list[Callable[[], KeptResult]] = [
        lambda: result()._replace(predicted=None),  # type: ignore[arg-type]  deliberately wrong
        lambda: result()._replace(logits=np.array(["a"] * 5)),
    ]
    for make in bad:
        with pytest.raises((TypeError, ValueError)):
            chunks.pack([result(), make()])
