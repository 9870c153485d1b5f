"""`python -m training tune` on the shipped models and their real test sets gains what the models' cards say."""

import json
from pathlib import Path
from typing import Any

import pytest

from models.bundle import load_bundle
from training import __main__ as cli

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data"
SHIPPED = ROOT / "models" / "shipped"
MAX_DIFFERENCE = 1e-3  # ten pictures of 10,000: processors differ in the seventh digit of a logit, so near ties flip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("name", ["cifar10-lt", "cifar100-lt"])
def test_tuning_a_shipped_model_gains_what_its_card_says(name: str, tmp_path: Path) -> None:
    data = DATA / f"{name}.zip"
    if not data.exists():
        pytest.skip(f"tuning {name} on its real test set: NOT tested, there is no {data.name} in ../shared/data")
    shipped = SHIPPED / name / "2"
    before = (shipped / "manifest.json").read_bytes()
    written = tmp_path / "report.json"
    assert cli.main(["tune", str(shipped), "--data", str(data), "--json", str(written)]) == 0
    report: dict[str, Any] = json.loads(written.read_text())
    card = load_bundle(shipped).manifest.metrics["protocol"]
    zero, best, expected = (card[point]["balanced"] for point in ("zero", "hindsight", "cross_fitted"))
    assert report["images"] == 10_000
    assert not report["unreadable"]
    assert report["before"]["balanced"] == pytest.approx(zero, abs=MAX_DIFFERENCE)
    assert report["gain"]["balanced"] == pytest.approx(best - zero, abs=MAX_DIFFERENCE)
    assert report["cross_fitted"]["balanced"] - report["before"]["balanced"] == pytest.approx(
        expected - zero, abs=MAX_DIFFERENCE
    )
    assert (shipped / "manifest.json").read_bytes() == before  # nothing was saved
