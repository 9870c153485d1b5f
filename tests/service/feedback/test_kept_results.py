"""Kept results: classification adds them without waiting, and a later label finds them for a limited time."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, select

from service.feedback import kept_results as module
from service.feedback.kept_results import KeptResult, KeptResults
from service.metrics import Metrics
from service.result_ids import new_result_id
from service.storage.database import Database, StorageUnavailableError
from service.storage.tables import kept_chunks

NOW = 1_795_525_000.0


def id_at(seconds: float) -> str:
    return f"{round(1000 * seconds):012x}{new_result_id()[12:]}"


def result(at: float = NOW, *, model: str = "tiny", version: int = 1, seed: int = 0, classes: int = 5) -> KeptResult:
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal(classes, np.float32)
    cosine = rng.uniform(-1, 1, 2).astype(np.float32)
    return KeptResult(id_at(at), model, version, 1.5, 3, int(logits.argmax()), logits, cosine)


Keeping = Callable[..., KeptResults]


@pytest.fixture
def keeping(database: Database) -> Keeping:
    def make(**options: Any) -> KeptResults:
        settings: dict[str, Any] = {"keep": 1000, "keep_seconds": 3600.0, "clock": lambda: NOW}
        return KeptResults(options.pop("database", database), Metrics(), **(settings | options))

    return make


def rows(database: Database) -> list[str]:
    """The ids in the database, oldest first."""
    blobs = database.run_sync(lambda connection: connection.scalars(select(kept_chunks.c.ids)).all())
    return sorted(blob[start : start + 16].hex() for blob in blobs for start in range(0, len(blob), 16))


def find(database: Database, kept: KeptResults, *ids: str) -> dict[str, KeptResult]:
    return database.run_sync(lambda connection: kept.find(connection, ids))


def test_a_result_is_found_before_it_is_written_and_after(database: Database, keeping: Keeping) -> None:
    kept = keeping()
    mine = result()
    kept.add(mine)
    assert find(database, kept, mine.id, id_at(NOW)) == {mine.id: mine}
    assert rows(database) == []
    assert kept.flush() == 1
    elsewhere = find(database, keeping(), mine.id)[mine.id]
    assert elsewhere[:6] == mine[:6]
    assert np.array_equal(elsewhere.logits, mine.logits)
    assert np.array_equal(elsewhere.head_cosine, mine.head_cosine)


class LostAnswers:
    """A database that commits, but whose connection breaks before it confirms the commit."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def run_sync(self, work: Callable[[Connection], Any]) -> Any:
        self.database.run_sync(work)
        raise StorageUnavailableError("the connection broke")


def test_a_commit_without_confirmation_is_not_written_twice(
    database: Database, keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = keeping()
    mine = [result(NOW - 3 + i) for i in range(3)]
    for each in mine:
        kept.add(each)
        monkeypatch.setattr(kept, "_database", LostAnswers(database))
        with pytest.raises(StorageUnavailableError):
            kept.flush()
    assert rows(database) == [mine[0].id]
    monkeypatch.setattr(kept, "_database", database)
    assert kept.flush() == 3
    assert rows(database) == [each.id for each in mine]
    assert len(kept.recent_traffic("tiny", 1)[0]) == 3


def test_at_least_the_newest_of_each_model_and_version_stay_and_the_table_is_bounded(
    database: Database, keeping: Keeping
) -> None:
    kept = keeping(keep=20)
    added: dict[tuple[str, int], list[str]] = {("a", 1): [], ("a", 2): [], ("b", 1): []}
    for turn in range(40):
        for (model, version), ids in added.items():
            for _ in range(turn % 4):
                ids.append(kept.add(one := result(NOW + turn, model=model, version=version)) or one.id)
        kept._step()
        assert len(rows(database)) <= 3 * (20 + 20 // 10 + 3)  # the last 3 for a chunk
    found = find(database, kept, *(i for ids in added.values() for i in ids))
    assert all(i in found for ids in added.values() for i in sorted(ids)[-20:])


def test_a_chunk_is_deleted_once_newer_chunks_hold_enough(database: Database, keeping: Keeping) -> None:
    kept = keeping(keep=7)
    ids: list[list[str]] = []
    for size in (9, 3, 4, 5):
        ids.append([kept.add(one := result(NOW + len(ids))) or one.id for _ in range(size)])
        kept.flush()
        kept.delete_old()
    assert rows(database) == sorted(ids[2] + ids[3])  # 4 + 5; without the 4 too few would stay


def test_a_chunk_that_holds_one_of_the_newest_results_stays(database: Database, keeping: Keeping) -> None:
    one = keeping(keep=2)
    other = keeping(keep=2)
    ids = [each.id for each in (result(NOW), result(NOW + 0.2), result(NOW + 0.1), result(NOW + 0.3))]
    for kept, mine in ((one, ids[:2]), (other, ids[2:])):
        for each in mine:
            kept.add(result()._replace(id=each))
        kept.flush()
    other.delete_old()
    assert rows(database) == sorted(ids)  # the first chunk is the older one, but holds the third newest


def test_a_restart_does_not_let_the_table_grow(database: Database, keeping: Keeping) -> None:
    for turn in range(30):
        kept = keeping(keep=20)
        kept.add(result(NOW + turn))
        kept._step()
    assert len(rows(database)) <= 22


def test_a_result_that_is_too_old_is_not_found_and_then_deleted(database: Database, keeping: Keeping) -> None:
    times = [NOW]
    kept = keeping(keep_seconds=60.0, clock=lambda: times[0])
    old = result(NOW - 59)
    new = result(NOW)
    for each in (old, new):
        kept.add(each)
    kept.flush()
    assert find(database, kept, old.id, new.id).keys() == {old.id, new.id}
    times[0] = NOW + 2
    assert find(database, kept, old.id, new.id).keys() == {new.id}
    kept.delete_old()
    assert rows(database) == [new.id]


def test_the_horizon_is_the_time_before_which_results_may_be_deleted(database: Database, keeping: Keeping) -> None:
    kept = keeping(keep=3, keep_seconds=100.0)
    horizon = lambda: database.run_sync(kept.horizon)  # noqa: E731
    assert horizon() == NOW - 100
    for second in range(2):
        kept.add(result(NOW - 50 + second))
    kept.flush()
    assert horizon() == NOW - 100
    for second in range(5):
        kept.add(result(NOW - 40 + second))
    kept.flush()
    kept.delete_old()
    assert horizon() == NOW - 38


def test_without_a_database_results_are_buffered_and_the_oldest_are_dropped_and_counted(
    database: Database,
    database_url: str,
    keeping: Keeping,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "MAX_BUFFERED_RESULTS", 10)
    kept = keeping()
    unavailable = Database(database_url)
    monkeypatch.setattr(kept, "_database", unavailable)
    ids = []
    with caplog.at_level(logging.WARNING, "longtail.results"):
        for _ in range(25):
            kept.add(one := result())
            ids.append(one.id)
            kept._step()
        monkeypatch.setattr(kept, "_database", database)
        kept._step()
    assert rows(database) == sorted(ids[-10:])
    assert b'longtail_results_dropped_total{model="tiny"} 15.0' in kept._metrics.render()
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "up to 10 results are buffered", "results are kept again",
    ]  # fmt: skip
    unavailable.close()


def test_the_buffer_is_bounded_in_bytes(keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BUFFERED_BYTES", 100_000)
    kept = keeping()
    for _ in range(20):
        kept.add(result(classes=10_000))
    assert (len(kept._buffer), kept._bytes) == (2, 2 * 40_008)


def test_keep_0_keeps_nothing(database: Database, keeping: Keeping) -> None:
    kept = keeping(keep=0)
    kept.add(result())
    assert kept.flush() == 0
    assert not kept._buffer


def test_closing_writes_the_buffer(database: Database, keeping: Keeping) -> None:
    kept = keeping(interval=1000.0)
    kept.start()
    ids = sorted(kept.add(one := result()) or one.id for _ in range(5))
    kept.close()
    assert rows(database) == ids


def test_many_threads_add_results_and_none_is_lost(database: Database, keeping: Keeping) -> None:
    kept = keeping(keep=5000, interval=0.001)
    kept.start()
    ids: list[str] = []

    def add_results() -> None:
        for _ in range(200):
            kept.add(one := result())
            ids.append(one.id)
            assert one.id in find(database, kept, one.id)

    threads = [threading.Thread(target=add_results) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept.close()
    assert rows(database) == sorted(ids)
    assert len(ids) == 800


def test_recent_traffic_is_returned_oldest_first(database: Database, keeping: Keeping) -> None:
    kept = keeping()
    mine = [result(NOW - 10 + i, seed=i) for i in range(6)]
    for each in [*mine, result(model="other"), result(version=2)]:
        kept.add(each)
    logits, cosine = kept.recent_traffic("tiny", 1)
    assert np.array_equal(logits, np.stack([each.logits for each in mine]))
    assert np.array_equal(cosine, np.stack([each.head_cosine for each in mine]))
    assert len(kept.recent_traffic("tiny", 1, since=NOW - 7)[0]) == 3
    assert [part.shape for part in kept.recent_traffic("nobody", 1)] == [(0, 0), (0, 0)]


def test_predictions_are_counted_at_the_alpha_used_and_at_zero(database: Database, keeping: Keeping) -> None:
    kept = keeping()
    for plain in (0, 0, 4):
        kept.add(result()._replace(predicted=3, plain=plain))
    kept.flush()
    counted = database.run_sync(lambda connection: kept.predictions(connection, "tiny", 1))
    assert sorted(counted.tolist()) == [[3, 0, 2], [3, 4, 1]]


def test_a_result_that_cannot_be_written_is_dropped_and_the_next_is_written(
    database: Database, keeping: Keeping, caplog: pytest.LogCaptureFixture
) -> None:
    kept = keeping()
    good = result()
    bad: Any = result()._replace(predicted=None)
    for each in (bad, good):
        kept.add(each)
        kept._step()
    assert rows(database) == [good.id]
    assert "results are not kept" in caplog.text


def test_results_stay_buffered_without_a_database(database: Database, database_url: str, keeping: Keeping) -> None:
    unavailable = Database(database_url)
    kept = keeping(database=unavailable)
    kept.add(result())
    with pytest.raises(StorageUnavailableError):
        kept.flush()
    assert len(kept._buffer) == 1
    assert rows(database) == []
    unavailable.close()
