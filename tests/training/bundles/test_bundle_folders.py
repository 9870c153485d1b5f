"""The message for a folder that is not a bundle, and for a folder where no new bundle may be written."""

import shutil
from pathlib import Path

import pytest

from models.errors import BundleExistsError
from tests.tiny_bundle import write_tiny_bundle
from training import __main__ as cli
from training.bundles.bundle_folders import new_bundle_folder, versions_in
from training.errors import ExportError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a model that has version 1."""
    return write_tiny_bundle(tmp_path / "models").parent


@pytest.mark.parametrize("arguments", [[], ["--save"]])
def test_evaluating_a_models_folder_names_its_versions(
    model: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", str(model), "--data", "nowhere", *arguments]) == 2
    assert f"error: {model} holds version 1; did you mean {model}/1?" in capsys.readouterr().err


def test_tuning_a_models_folder_names_the_newest_version(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for version in (2, 10):
        shutil.copytree(model / "1", model / str(version))
    assert cli.main(["tune", str(model), "--data", "nowhere"]) == 2
    assert f"error: {model} holds versions 1, 2, 10; did you mean {model}/10?" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "tune"])
def test_a_run_in_place_of_a_bundle_says_to_export_it_first(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    assert cli.main([command, str(tmp_path), "--data", "nowhere"]) == 2
    assert f"error: {tmp_path} is a run, not a bundle; export it first: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["v2", "v2/1"])
def test_a_model_beside_the_versions_of_another_is_refused(model: Path, name: str) -> None:
    with pytest.raises(
        ExportError, match=f"{model} holds the versions of a model; a version is a number, such as {model}/2"
    ):
        new_bundle_folder(model / name)
    assert versions_in(model) == [1]


@pytest.mark.parametrize("name", ["1/2", "1/small", "1/small/1"])
def test_a_bundle_in_a_bundle_is_refused(model: Path, name: str) -> None:
    with pytest.raises(ExportError, match=f"{model}/1 is itself a bundle"):
        new_bundle_folder(model / name)


@pytest.mark.parametrize("name", ["gone/1", "gone", "tiny/2"])
def test_a_broken_link_in_place_of_a_folder_is_named_before_anything_is_computed(model: Path, name: str) -> None:
    link = model.parent / ("tiny/2" if name == "tiny/2" else "gone")
    link.symlink_to("nowhere")
    with pytest.raises(ExportError, match=f"{link} is a link that leads nowhere; remove it, or link it to a folder"):
        new_bundle_folder(model.parent / name)


def test_the_next_version_of_a_linked_model_counts_links_too(model: Path, tmp_path: Path) -> None:
    (model / "2").symlink_to("1")
    (tmp_path / "deployed").mkdir()
    (tmp_path / "deployed" / "tiny").symlink_to(model)
    assert new_bundle_folder(tmp_path / "deployed" / "tiny") == tmp_path / "deployed" / "tiny" / "3"


def test_a_free_folder_is_returned_and_a_taken_one_refused(model: Path) -> None:
    assert new_bundle_folder(model) == model / "2"
    assert new_bundle_folder(model / "7") == model / "7"
    assert new_bundle_folder(model.parent / "other") == model.parent / "other" / "1"
    with pytest.raises(BundleExistsError, match="already exists"):
        new_bundle_folder(model / "1")
