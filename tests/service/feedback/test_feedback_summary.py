"""The summary of a model's labels: the number kept, the best alpha for the newest, and drift in the metrics."""

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from models.accuracy import LabelledIntervals
from service.storage.tables import feedback as table
from tests.service.conftest import Running
from tests.service.feedback.test_feedback import advance_clock, classified, context_of, give, outcome, rows, summary

pytestmark = pytest.mark.anyio


async def test_only_the_newest_labels_are_kept(running: Running, database_url: str) -> None:
    async with running(database=database_url, keep_feedback=20) as service:
        for turn in range(12):
            ids = [await classified(service, seed) for seed in range(5)]
            body = [{"id": result_id, "label": turn % 5} for result_id in ids]
            await service.client.post("/v1/feedback", json=body)
            context_of(service).feedback.delete_old()
            count = context_of(service).database.run_sync(lambda c: c.scalar(select(func.count()).select_from(table)))
            assert count is not None
            assert count <= 20 + 2 + 5
        labels = context_of(service).feedback.intervals("tiny", 1)[0]
    assert labels[-20:].tolist() == [3] * 5 + [4] * 5 + [0] * 5 + [1] * 5


async def test_intervals_come_oldest_first_since_a_time_and_the_last_of_them(
    running: Running, database_url: str
) -> None:
    async with running(real=True, database=database_url) as service:
        feedback = context_of(service).feedback
        start = feedback.clock()
        answers = []
        for seed in range(8):
            advance_clock(service, 1)
            answers.append((await give(service, await classified(service, seed), seed % 5)).json())
        labels, intervals = feedback.intervals("tiny", 1)
        assert labels.tolist() == [seed % 5 for seed in range(8)]
        assert np.all(np.diff([row.time for row in rows(service)]) > 0.9)
        for answer, (low, high) in zip(answers, intervals.tolist(), strict=True):
            if answer["interval"] is None:
                assert np.isnan([low, high]).all()
            else:
                ends = [None if np.isinf(end) else end for end in (low, high)]
                assert answer["interval"] == ends
        assert feedback.intervals("tiny", 1, last=3)[0].tolist() == labels[-3:].tolist()
        assert len(feedback.intervals("tiny", 1, since=start + 4.5)[0]) in (4, 5)
        without_labels = feedback.intervals("tiny", 2)
    assert [part.shape for part in without_labels] == [(0,), (0, 2)]
    assert without_labels[0].dtype == np.int64


async def test_the_summary_has_counts_and_the_best_alpha_for_new_labels(running: Running, database_url: str) -> None:
    async with running(real=True, database=database_url) as service:
        empty = await summary(service)
        for seed in range(40):
            await give(service, await classified(service, seed, "?alpha=8"), seed % 5)
        context_of(service).results.flush()
        whole = await summary(service)
        newest = await summary(service, "?last=10&since=3600")
        predictions = context_of(service).database.run_sync(
            lambda c: context_of(service).results.predictions(c, "tiny", 1)
        )
        labels, intervals = context_of(service).feedback.intervals("tiny", 1, last=10)
    assert (empty["labels"], empty["optimum"], empty["drift"], empty["predictions"]["images"]) == (0, None, None, 0)
    assert whole["by_group"] == {"many": 16, "medium": 8, "few": 16}
    assert (whole["labels"], whole["last"], newest["labels"], newest["last"]) == (40, 40, 40, 10)
    images = LabelledIntervals(labels, intervals, ("many", "many", "medium", "few", "few"))
    on_grid = images.curve("balanced").at(np.linspace(-8, 8, 2001))
    best = newest["optimum"]
    assert best["balanced"] == pytest.approx(on_grid.max())
    assert images.curve("balanced").at(best["alpha"]) == pytest.approx(best["balanced"])
    assert newest["drift"] == pytest.approx(best["alpha"] - 1.5)
    assert newest["in_force"] == {"name": "balanced", "alpha": 1.5}
    for name, alpha in (("in_force", 1.5), ("at_zero", 0.0)):
        expected = {group: float(images.curve(group).at(alpha)) for group in ("many", "medium", "few")}
        assert newest["accuracy"][name] == pytest.approx(expected)
    used, zero, count = predictions.T
    shares = whole["predictions"]
    assert shares["images"] == 40
    assert shares["many"] == pytest.approx(count[used < 2].sum() / 40)
    assert shares["at_zero"]["few"] == pytest.approx(count[zero > 2].sum() / 40)
    assert shares["at_zero"] != {group: shares[group] for group in ("many", "medium", "few")}


@pytest.mark.parametrize(
    "query", ["?since=x", "?since=-1", "?since=nan", "?since=1_0", "?last=0", "?last=x", f"?last={10**20}"]
)
async def test_invalid_parameters_of_a_summary_are_refused(running: Running, query: str) -> None:
    async with running() as service:
        answer = await service.client.get(f"/v1/models/tiny/feedback{query}")
        times = [
            await service.client.get("/v1/models/tiny/feedback", params={"since": since})
            for since in ("2026-11-23T12:00:00Z", "2026-11-23T12:00:00+02:00", "2026-11-23", "0", "1e9")
        ]
        unknown = await service.client.get("/v1/models/nope/feedback")
    assert outcome(answer) == (422, "invalid_request")
    assert [each.status_code for each in times] == [200] * 5
    assert outcome(unknown) == (404, "unknown_model")


async def test_metrics_show_drift_and_omit_unknown_figures(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with running(real=True) as service:
        context = context_of(service)
        context.drift_monitor.refresh()
        before = (await service.client.get("/metrics")).text
        for seed in range(10):
            await give(service, await classified(service, seed), seed % 5)
        context.results.flush()
        context.drift_monitor.refresh()
        after = (await service.client.get("/metrics")).text
        shown = await summary(service)
        (tmp_path / "metrics").mkdir()
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "metrics"))  # as one of several processes
        shared = (await service.client.get("/metrics")).text
    assert 'longtail_feedback_labels{model="tiny"} 0.0' in before
    assert "longtail_alpha_drift{" not in before
    assert "longtail_prediction_share{" not in before
    assert "longtail_feedback_accuracy{" not in before
    for text in (after, shared):
        assert 'longtail_feedback_labels{model="tiny"} 10.0' in text
        assert f'longtail_alpha_drift{{model="tiny"}} {shown["drift"]}' in text
        assert f'longtail_alpha_optimum{{model="tiny"}} {shown["optimum"]["alpha"]}' in text
        assert 'longtail_alpha_in_force{model="tiny"} 1.5' in text
        right = shown["accuracy"]["at_zero"]["many"]
        assert f'longtail_feedback_accuracy{{alpha="zero",group="many",model="tiny"}} {right}' in text
        share = shown["predictions"]["at_zero"]["few"]
        assert f'longtail_prediction_share{{alpha="zero",group="few",model="tiny"}} {share}' in text
