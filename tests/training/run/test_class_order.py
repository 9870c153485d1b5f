"""A run of an earlier version, which sorted folders 0 … 11 as text, is continued and exported in its own order."""

import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.conftest import COLOURS, image
from tests.training.run.test_run import options, same
from training.data.options import DataOptions
from training.evaluation.evaluate import evaluate, same_figures
from training.export.export import export
from training.recipe.recipe import Recipe
from training.run.run_state import RunState, save_run
from training.run.train import train

EARLIER = ("1", "10", "2")
NOW = ("1", "2", "10")


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """Class folders with numbers for names and as many pictures in each."""
    root = tmp_path / "data"
    for split, count in {"train": 24, "test": 6}.items():
        for name, colour in zip(EARLIER, COLOURS.values(), strict=True):
            (root / split / name).mkdir(parents=True)
            for rank in range(count):
                content = image(colour, zlib.crc32(f"{split}/{name}/{rank}".encode()))
                (root / split / name / f"{rank:05}.webp").write_bytes(content)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("imbalance_ratio", [None, 4.0])
def test_an_earlier_run_is_continued_exported_and_scored_in_its_own_order(
    numbered: Path, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, imbalance_ratio: float | None
) -> None:
    recipe = replace(recipe, epochs=2, imbalance_ratio=imbalance_ratio)

    def stop_after_one(run: Path, state: RunState) -> None:
        save_run(run, state)
        if state.epochs_done == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("training.data.class_folders.class_order", str)
        whole = train(recipe, options(numbered, tmp_path / "whole"))
        patched.setattr("training.run.train.save_run", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, options(numbered, tmp_path / "parts"))
    resumed = train(recipe, options(numbered, tmp_path / "parts", resume=True))
    assert same(whole, resumed)
    assert resumed.data.classes == EARLIER
    bundle = export(tmp_path / "parts", tmp_path / "models" / "numbers")
    assert tuple(info.name for info in bundle.manifest.classes) == EARLIER
    report = evaluate(bundle.path, DataOptions(data=numbered), None, None)
    assert same_figures(report["protocol"], bundle.manifest.metrics["protocol"])
    assert train(recipe, options(numbered, tmp_path / "new")).data.classes == NOW
