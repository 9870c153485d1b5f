"""What is loaded while Python still imports the rest is what would be loaded later, or it is loaded later."""

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
    """Loads bundles, and counts which."""

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
    ahead = Preloader(tmp_path, loads)
    assert [ahead(folder).name for folder in (one, two)] == ["one", "two"]
    assert loads.count == {"one/1": 1, "two/1": 1}


def test_a_bundle_that_changed_meanwhile_is_loaded_again(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path, "one", seed=1)
    loads = Loads(tmp_path)
    ahead = Preloader(tmp_path, loads)
    ahead._thread.join()
    shutil.rmtree(folder)
    write_tiny_bundle(tmp_path, "one", seed=2)
    model = ahead(folder)
    assert loads.count["one/1"] == 2
    assert (model.bundle.class_effect == loads.load(folder).bundle.class_effect).all()


def test_what_is_wrong_with_a_bundle_is_said_when_it_is_asked_for(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path, "one")
    (folder / "manifest.json").write_text("{}")
    ahead = Preloader(tmp_path, Loads(tmp_path))
    with pytest.raises(BundleError):
        ahead(folder)


def test_a_folder_that_is_not_there_is_nobodys_business_yet(tmp_path: Path) -> None:
    Preloader(tmp_path / "missing", Loads(tmp_path))._thread.join()
