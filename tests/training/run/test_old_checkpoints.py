"""Runs written by version 0.5, whose state was a plain dictionary, are still resumed, exported and compared.

`written_by_0_5/` holds two checkpoints of the fixture `recipe` with a moving average, trained by that version on the
pictures of the fixture `folder`: `stopped.pt` after 2 of 3 epochs, `finished.pt` after all 3.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models.bundle import load_bundle
from tests.training.run.test_run import options
from training.errors import CheckpointError, RecipeError
from training.evaluation.compare import rows_of
from training.export.export import export
from training.recipe.recipe import Recipe
from training.run.checkpoint import CHECKPOINT_NAME, load_checkpoint, save_checkpoint
from training.run.run_state import RunState, load_run
from training.run.train import train

pytestmark = pytest.mark.timeout(300)  # torch's exporter is loaded, on a machine that may be busy
WRITTEN = Path(__file__).parent / "written_by_0_5"


@pytest.fixture
def recipe(recipe: Recipe) -> Recipe:
    return replace(recipe, ema_decay=0.9)


def old_run(name: str, run: Path, data: Path) -> Path:
    """Put an old checkpoint into a run folder, as if it had been trained on `data`."""
    values = torch.load(WRITTEN / f"{name}.pt", weights_only=True)
    run.mkdir()
    torch.save(values | {"data_options": values["data_options"] | {"data": str(data)}}, run / CHECKPOINT_NAME)
    return run


def test_an_old_run_is_resumed_and_ends_as_it_would_have_before(folder: Path, tmp_path: Path, recipe: Recipe) -> None:
    run = old_run("stopped", tmp_path / "run", folder)
    state = train(recipe, options(folder, run, resume=True))
    would_be = torch.load(WRITTEN / "finished.pt", weights_only=True)
    assert state.finished
    for row, other in zip(state.history, would_be["history"], strict=True):
        assert row | {"images_per_second": 0.0} == pytest.approx(other | {"images_per_second": 0.0}, abs=1e-3)
    assert state.means is not None
    torch.testing.assert_close(state.means.mean_feature, would_be["mean_feature"], rtol=1e-3, atol=1e-3)  # another CPU
    assert load_bundle(export(run, tmp_path / "models" / "old").path).manifest.provenance["seed"] == 0


def test_an_old_finished_run_is_exported_and_compared(folder: Path, tmp_path: Path, recipe: Recipe) -> None:
    run = old_run("finished", tmp_path / "run", folder)
    assert load_run(run).recipe == recipe
    manifest = export(run, tmp_path / "models" / "old").manifest
    assert [info.training_count for info in manifest.classes] == [24, 12, 6]
    assert manifest.provenance["command"] == "python -m training train tiny --data pictures --out run"
    assert {row.inference for row in rows_of(run)} >= {"none", "TDE"}


def test_a_checkpoint_has_the_same_keys_as_before(folder: Path, tmp_path: Path, recipe: Recipe) -> None:
    run = old_run("finished", tmp_path / "run", folder)
    old = load_checkpoint(run)
    new = {"format": 1} | RunState.from_checkpoint(old).to_checkpoint()
    assert new.keys() == old.keys()
    tensors = {"model", "optimizer", "average", "running_mean", "mean_feature", "mean_head_cosine"}
    assert all(new[key] == old[key] for key in old.keys() - tensors)


def test_values_that_versions_before_0_5_did_not_write_have_defaults(
    folder: Path, tmp_path: Path, recipe: Recipe
) -> None:
    run = old_run("stopped", tmp_path / "run", folder)
    values = load_checkpoint(run)
    later = ("data_options", "data_note", "train_fingerprint", "test_fingerprint", "unreadable_images", "precision")
    kept: dict[str, Any] = {
        key: value for key, value in values.items() if key not in ("format", "started_from", *later)
    }
    save_checkpoint(run, kept | {"data_path": str(folder)})
    assert train(recipe, options(folder, run, resume=True)).finished


def test_a_checkpoint_that_lacks_a_value_or_has_an_unknown_field_is_refused(
    folder: Path, tmp_path: Path, recipe: Recipe
) -> None:
    run = old_run("finished", tmp_path / "run", folder)
    values = load_checkpoint(run)
    values.pop("format")
    save_checkpoint(run, values | {"recipe": values["recipe"] | {"hologram": 1}})
    with pytest.raises(RecipeError, match="fields that this version does not know: hologram"):
        load_run(run)
    del values["seconds"]
    save_checkpoint(run, values)
    with pytest.raises(CheckpointError, match="the checkpoint has no 'seconds'; it is damaged"):
        load_run(run)
