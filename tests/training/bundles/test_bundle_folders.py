"""What is said of a folder that is no bundle where one is wanted, and of a place where none may be written."""

import shutil
from pathlib import Path

import pytest

from models.errors import BundleExistsError
from tests.tiny_bundle import write_tiny_bundle
from training import __main__ as cli
from training.bundles.bundle_folders import versions_in
from training.errors import ExportError
from training.export.write_bundle import bundle_place


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a model that has version 1."""
    return write_tiny_bundle(tmp_path / "models").parent


@pytest.mark.parametrize("more", [[], ["--save"]])
def test_evaluating_a_models_folder_names_its_versions(
    model: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", str(model), "--data", "nowhere", *more]) == 2
    assert f"error: {model} holds version 1; did you mean {model}/1?" in capsys.readouterr().err


def test_tuning_a_models_folder_names_the_newest_version(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for version in (2, 10):
        shutil.copytree(model / "1", model / str(version))
    assert cli.main(["tune", str(model), "--data", "nowhere"]) == 2
    assert f"error: {model} holds versions 1, 2, 10; did you mean {model}/10?" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "tune"])
def test_a_run_is_to_be_exported_first(tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    assert cli.main([command, str(tmp_path), "--data", "nowhere"]) == 2
    assert f"error: {tmp_path} is a run, not a bundle; export it first: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["v2", "v2/1"])
def test_a_model_beside_the_versions_of_another_is_refused(model: Path, name: str) -> None:
    with pytest.raises(
        ExportError, match=f"{model} holds versions of a model; a version is a number, such as {model}/2"
    ):
        bundle_place(model / name)
    assert versions_in(model) == [1]


@pytest.mark.parametrize("name", ["1/2", "1/small", "1/small/1"])
def test_a_bundle_in_a_bundle_is_refused(model: Path, name: str) -> None:
    with pytest.raises(ExportError, match=f"{model}/1 is a bundle itself"):
        bundle_place(model / name)


def test_what_is_free_stays_free(model: Path) -> None:
    assert bundle_place(model) == model / "2"
    assert bundle_place(model / "7") == model / "7"
    assert bundle_place(model.parent / "other") == model.parent / "other" / "1"
    with pytest.raises(BundleExistsError, match="is there already"):
        bundle_place(model / "1")
