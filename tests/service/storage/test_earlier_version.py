"""A database that Longtail 0.5.0 wrote is read completely: labels, results, operating points, history and a job.

`written_by_0_5_0.sql` is the dump of a SQLite database after four classified pictures of the tiny bundle, three labels,
six changes of operating points and one job that chose alpha on the labels.
"""

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engines.fake import FakeEngine
from models.bundle import Bundle
from service.catalog.loader import load_model
from service.feedback.kept_results import KeptResults
from service.feedback.label_evaluation import Feedback
from service.feedback.store import FeedbackStore
from service.inference.registry import Registry
from service.jobs.runner import JobRunner
from service.jobs.store import JobStore
from service.metrics import Metrics
from service.schemas.tuning import TuneReport
from service.storage.database import Database
from service.storage.operating_points import OperatingPoints, PointInForce

pytestmark = pytest.mark.anyio
DUMP = Path(__file__).with_name("written_by_0_5_0.sql")
NOW = 1_796_048_170.0  # some seconds after the dump
RESULTS = [
    "01a22ccff8b274a49fd02d3d09185abf", "01a22ccff8cb7118a46c72dab74bd1a9", "01a22ccff8db7392889396d2c4bfdcb2",
    "01a22ccff91273b6835181beeaf3a7fb",
]  # fmt: skip
JOB = "3855d3fa21ff1fcdb2a244f890679cae"
LOW = 3.856816735600245  # of the first label's interval


@pytest.fixture
def old_database(tmp_path: Path) -> Iterator[Database]:
    connection = sqlite3.connect(tmp_path / "old.db")
    connection.executescript(DUMP.read_text())
    connection.close()
    database = Database(f"sqlite:///{tmp_path / 'old.db'}")
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def results(old_database: Database) -> KeptResults:
    return KeptResults(old_database, Metrics(), keep=1000, keep_seconds=3600.0, clock=lambda: NOW)


@pytest.fixture
def feedback(old_database: Database, results: KeptResults, tiny_bundle: Bundle) -> FeedbackStore:
    registry = Registry()
    registry.replace("tiny", (load_model(tiny_bundle.path, FakeEngine, 4),))
    return FeedbackStore(old_database, results, registry, keep=1000, clock=lambda: NOW)


def test_labels_and_their_intervals_are_read(feedback: FeedbackStore) -> None:
    labels, intervals = feedback.intervals("tiny", 1)
    assert labels.tolist() == [0, 1, 3]
    assert intervals[0].tolist() == [LOW, math.inf]
    assert np.isnan(intervals[1:]).all()


async def test_a_stored_label_can_be_repeated_and_a_kept_result_takes_a_new_label(feedback: FeedbackStore) -> None:
    repeated, corrected, new = await feedback.record([(RESULTS[0], 0), (RESULTS[1], 2), (RESULTS[3], "class 2")])
    assert isinstance(repeated, Feedback)
    assert (repeated.low, repeated.high, repeated.time < NOW) == (LOW, math.inf, True)
    for outcome in (corrected, new):
        assert isinstance(outcome, Feedback)
        assert (outcome.label, outcome.time) == (2, NOW)
    assert sorted(feedback.intervals("tiny", 1)[0].tolist()) == [0, 2, 2, 3]


def test_kept_results_are_found_with_their_outputs(old_database: Database, results: KeptResults) -> None:
    found = old_database.run_sync(lambda connection: results.find(connection, RESULTS))
    logits, head_cosine = results.recent_traffic("tiny", 1)
    assert sorted(found) == RESULTS
    assert {(result.model, result.version, result.alpha) for result in found.values()} == {("tiny", 1, 1.5)}
    assert np.array_equal(logits, np.stack([found[result_id].logits for result_id in RESULTS]))
    assert np.array_equal(head_cosine, np.stack([found[result_id].head_cosine for result_id in RESULTS]))
    assert (logits.shape, head_cosine.shape) == ((4, 5), (4, 2))
    assert old_database.run_sync(lambda connection: results.predictions(connection, "tiny", 1))[:, 2].sum() == 4


async def test_operating_points_and_their_history_are_read(old_database: Database, tiny_bundle: Bundle) -> None:
    points = OperatingPoints(old_database)
    points.poll()
    manifest = tiny_bundle.manifest
    in_force = points.of(manifest)
    assert in_force["balanced"] == PointInForce(0.75, "set by hand", "stored", 1_796_048_160.7110546)
    assert ("night" in in_force, in_force["dusk"].alpha, in_force["head"].alpha) == (False, 1.0, 0.0)
    assert in_force["tuned"].chosen_by == "best mean per-class recall, on 3 labels of feedback"
    history = await points.history(manifest, "balanced")
    assert [(change.alpha, change.from_alpha, change.who) for change in history] == [
        (0.75, 0.5, "ada"),
        (0.5, 1.5, "ada"),
    ]
    removed = (await points.history(manifest, "night"))[0]
    assert (removed.alpha, removed.from_alpha, removed.why) == (None, 2.0, "done")


async def test_the_report_of_a_job_is_read(old_database: Database) -> None:
    jobs = JobRunner(JobStore(old_database, lambda: NOW))
    record = await jobs.find(JOB)
    await jobs.close()
    assert (record.state, record.done, record.total, record.error) == ("done", 3, 3, None)
    report = TuneReport.model_validate(record.result)
    assert (report.alpha, report.saved_as) == (5.928408367800122, "tuned")
