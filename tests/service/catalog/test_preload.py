"""A preloaded model is the one that would be loaded on request; otherwise it is loaded on request."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from engines.fake import FakeEngine
from models.errors import BundleError
from service.catalog.loader import loader
from service.catalog.preload import Preloader
from service.inference.registry import ServedModel
from service.settings import Settings
from tests.tiny_bundle import write_tiny_bundle


class Loads:
    """Loads bundles, and counts the loads of each."""

    def __init__(self, root: Path) -> None:
        self.count: Counter[str] = Counter()
        self.load = loader(Settings(models=root), FakeEngine)

    def __call__(self, folder: Path) -> ServedModel:
        self.count[f"{folder.parent.name}/{folder.name}"] += 1
        return self.load(folder)


def test_the_highest_version_of_each_model_is_loaded_once(tmp_path: Path) -> None:
    one = write_tiny_bundle(tmp_path, "one")
    two = write_tiny_bundle(tmp_path, "two")
    loads = Loads(tmp_path)
    preloader = Preloader(tmp_path, loads)
    assert [preloader(folder).name for folder in (one, two)] == ["one", "two"]
    assert loads.count == {"one/1": 1, "two/1": 1}


def test_a_bundle_that_changed_after_preloading_is_loaded_again(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path, "one", seed=1)
    loads = Loads(tmp_path)
    preloader = Preloader(tmp_path, loads)
    preloader._thread.join()
    shutil.rmtree(folder)
    write_tiny_bundle(tmp_path, "one", seed=2)
    model = preloader(folder)
    assert loads.count["one/1"] == 2
    assert (model.bundle.class_effect == loads.load(folder).bundle.class_effect).all()


def test_a_bad_bundle_is_reported_on_request(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path, "one")
    (folder / "manifest.json").write_text("{}")
    preloader = Preloader(tmp_path, Loads(tmp_path))
    with pytest.raises(BundleError):
        preloader(folder)


def test_a_missing_folder_is_ignored(tmp_path: Path) -> None:
    Preloader(tmp_path / "missing", Loads(tmp_path))._thread.join()
