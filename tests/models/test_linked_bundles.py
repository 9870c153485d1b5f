"""NAME and VERSION may be links: a bundle is judged by the names under which it lies, its files by where they lead."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from models import bundle as loading
from models import update as updating
from models.__main__ import main
from models.bundle import Bundle, load_bundle, save_bundle
from models.errors import (
    BundleChecksumError,
    BundleExistsError,
    BundleMissingFileError,
    BundlePathError,
    BundleUpdateError,
)
from models.manifest import Manifest, OperatingPoint
from models.repository import find_bundles
from models.update import Revision, update_bundle
from tests.linked_bundles import switch, volume
from tests.tiny_bundle import TinyModel, write_tiny_bundle


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A bundle in a store, whose folder has another name than the model: tiny/2 in store/releases/tuesday."""
    folder = tmp_path / "store" / "releases" / "tuesday"
    folder.parent.mkdir(parents=True)
    return write_tiny_bundle(tmp_path / "made", version=2).rename(folder)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    return tmp_path / "models"


def night(bundle: Bundle) -> Revision:
    points = bundle.manifest.operating_points | {"night": OperatingPoint(1.25, "in words")}
    return Revision(dataclasses.replace(bundle.manifest, operating_points=points))


def is_seed(bundle: Bundle, seed: int) -> bool:
    return np.array_equal(bundle.class_effect, np.float32(TinyModel(seed=seed).class_effect))


@pytest.mark.parametrize("relative", [False, True])
def test_a_version_may_be_a_link_to_a_folder_of_any_name(root: Path, stored: Path, relative: bool) -> None:
    link = root / "tiny" / "2"
    link.symlink_to("../../store/releases/tuesday" if relative else stored)
    bundle = load_bundle(link)
    assert (bundle.path, bundle.folder, bundle.model_path) == (link, stored, stored / "model.onnx")
    assert bundle.place == f"{link} (linked to {stored})"
    assert (bundle.manifest.name, bundle.manifest.version) == ("tiny", 2)


def test_a_model_may_be_a_link(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "made")
    (tmp_path / "store").mkdir()
    (tmp_path / "made" / "tiny").rename(tmp_path / "store" / "rel")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny").symlink_to("../store/rel")
    bundle = load_bundle(tmp_path / "models" / "tiny" / "1")
    assert (bundle.path, bundle.folder) == (tmp_path / "models" / "tiny" / "1", tmp_path / "store" / "rel" / "1")


def test_links_to_links_and_a_linked_root(root: Path, stored: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(stored)
    (root / "tiny" / "2").symlink_to("../../current")
    (tmp_path / "deployed").symlink_to(root)
    assert load_bundle(tmp_path / "deployed" / "tiny" / "2").path == root / "tiny" / "2"
    assert [path.name for path in find_bundles(tmp_path / "deployed")] == ["2"]


def test_a_path_that_goes_up_again_is_followed_as_the_system_follows_it(root: Path, stored: Path) -> None:
    (root / "tiny" / "2").symlink_to(stored)
    assert load_bundle(root / "other" / ".." / "tiny" / "2").path == root / "tiny" / "2"
    with pytest.raises(BundlePathError, match=r"bundle releases/tuesday: manifest.json says it is tiny/2"):
        load_bundle(root / "tiny" / "2" / ".." / "tuesday")
    with pytest.raises(BundlePathError, match=r"bundle releases/tuesday: manifest.json says it is tiny/2"):
        load_bundle(root / "tiny" / "2" / "x" / "..")


def test_a_link_under_another_name_is_refused_with_both(root: Path, stored: Path) -> None:
    for link in (root / "tiny" / "3", root / "tuesday"):
        link.symlink_to(stored)
    with pytest.raises(BundlePathError) as caught:
        load_bundle(root / "tiny" / "3")
    assert str(caught.value) == "bundle tiny/3: manifest.json says it is tiny/2; name the folder so, or the link to it"


def test_a_file_outside_the_linked_folder_is_refused(root: Path, stored: Path, tmp_path: Path) -> None:
    (stored / "README.md").rename(tmp_path / "README.md")
    (stored / "README.md").symlink_to(tmp_path / "README.md")
    (root / "tiny" / "2").symlink_to(stored)
    with pytest.raises(BundlePathError, match=rf"tiny/2: README.md leads out of the folder, to {tmp_path}/README.md"):
        load_bundle(root / "tiny" / "2")


def test_files_that_are_links_inside_the_folder_are_its_own(root: Path, stored: Path) -> None:
    volume(root / "tiny" / "2", stored, "monday")
    assert (root / "tiny" / "2" / "model.onnx").readlink() == Path("..data/model.onnx")
    assert load_bundle(root / "tiny" / "2").model_path.read_bytes() == (stored / "model.onnx").read_bytes()


def test_a_volume_of_whole_models(root: Path, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "made")
    volume(tmp_path / "mounted", tmp_path / "made", "monday")
    bundle = load_bundle(tmp_path / "mounted" / "tiny" / "1")
    assert bundle.folder == tmp_path / "mounted" / "..monday" / "tiny" / "1"


@pytest.mark.parametrize("target", ["nowhere", "2", "../../gone/2"])
def test_a_version_that_leads_nowhere_is_told_so(root: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny_bundle(root)
    (root / "tiny" / "2").symlink_to(target)
    with pytest.raises(BundleMissingFileError) as caught:
        load_bundle(root / "tiny" / "2")
    sentence = f"bundle tiny/2: {root / 'tiny' / '2'} is a link that leads nowhere"
    assert str(caught.value) == sentence
    for folder in (root, root / "tiny"):
        assert main(["check", str(folder)]) == 2
        printed = capsys.readouterr()
        assert printed.out.startswith("tiny/1: classification")
        assert printed.err == f"{sentence}\n"


def test_a_model_that_leads_nowhere_is_told_so(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "other").symlink_to("gone")
    assert main(["check", str(root)]) == 2
    assert capsys.readouterr().err.startswith(f"{root}/other is a link that leads nowhere")
    assert main(["check", str(root / "other" / "1")]) == 2
    assert capsys.readouterr().err == f"bundle other/1: {root}/other is a link that leads nowhere\n"


def test_a_link_to_the_model_itself_is_no_bundle(root: Path) -> None:
    write_tiny_bundle(root)
    (root / "tiny" / "2").symlink_to(".")
    with pytest.raises(BundleMissingFileError, match=r"bundle tiny/2: manifest.json is missing"):
        load_bundle(root / "tiny" / "2")


def test_check_names_the_folder_behind_a_link(root: Path, stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "tiny" / "2").symlink_to(stored)
    assert main(["check", str(root)]) == 0
    assert f"in {root}/tiny/2 (linked to {stored})\n" in capsys.readouterr().out


def changing(monkeypatch: pytest.MonkeyPatch, change: "list[object]") -> None:
    """Run the steps in `change`, one after the other, each just after a manifest was read."""
    read = Manifest.from_json

    def from_json(data: bytes) -> Manifest:
        manifest = read(data)
        if change:
            change.pop(0)()  # type: ignore[operator]
        return manifest

    monkeypatch.setattr(loading.Manifest, "from_json", staticmethod(from_json))


def test_a_link_that_is_switched_while_the_bundle_is_read_gives_one_release(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (write_tiny_bundle(tmp_path / f"made{seed}", seed=seed) for seed in (1, 2))
    link = root / "tiny" / "1"
    link.symlink_to(old)
    changing(monkeypatch, [lambda: switch(link, new)])
    bundle = load_bundle(link)
    assert (bundle.folder, is_seed(bundle, 1)) == (old, True)
    assert is_seed(load_bundle(link), 2)


def test_a_release_that_is_removed_while_it_is_read_is_replaced_by_the_new_one(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (write_tiny_bundle(tmp_path / f"made{seed}", seed=seed) for seed in (1, 2))
    link = root / "tiny" / "1"
    link.symlink_to(old)
    changing(monkeypatch, [lambda: (switch(link, new), shutil.rmtree(old))])
    bundle = load_bundle(link)
    assert (bundle.folder, is_seed(bundle, 2)) == (new, True)


@pytest.mark.parametrize("whole", [False, True])
def test_a_volume_that_is_switched_while_it_is_read_gives_the_new_release(
    tmp_path: Path, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [write_tiny_bundle(tmp_path / f"made{seed}", seed=seed) for seed in (1, 2)]
    mounted = tmp_path / "mounted"
    sources = [path.parent.parent for path in made] if whole else made
    place = mounted if whole else mounted / "tiny" / "1"
    volume(place, sources[0], "monday")
    changing(monkeypatch, [lambda: volume(place, sources[1], "tuesday")])
    assert is_seed(load_bundle(mounted / "tiny" / "1"), 2)


def test_a_new_version_goes_where_the_models_link_leads(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny").symlink_to("../store")
    path = write_tiny_bundle(tmp_path / "models")
    assert path == tmp_path / "models" / "tiny" / "1"
    assert sorted(entry.name for entry in (tmp_path / "store").iterdir()) == ["1"]
    assert load_bundle(path).folder == tmp_path / "store" / "1"


def test_nothing_is_saved_through_a_broken_link(root: Path) -> None:
    (root / "other").symlink_to("gone")
    with pytest.raises(BundlePathError, match=f"{root}/other is a link that leads nowhere; remove it"):
        write_tiny_bundle(root, "other")
    (root / "tiny" / "1").symlink_to("gone")
    with pytest.raises(BundleExistsError, match="already exists"):
        write_tiny_bundle(root)
    assert not (root / "gone").exists()


def test_an_update_exchanges_the_folder_that_the_link_leads_to(root: Path, stored: Path) -> None:
    for name in ("a", "b"):
        (root / name / "tiny").mkdir(parents=True)
        (root / name / "tiny" / "2").symlink_to(stored)
    revised = update_bundle(root / "a" / "tiny" / "2", night)
    assert revised.place == f"{root}/a/tiny/2 (linked to {stored})"
    assert (root / "a" / "tiny" / "2").readlink() == stored
    for name in ("a", "b"):
        assert load_bundle(root / name / "tiny" / "2").manifest == revised.manifest
    assert revised.manifest.operating_points["night"].alpha == 1.25
    assert [entry.name for entry in stored.parent.iterdir()] == ["tuesday"]


def test_an_update_of_a_volume_is_refused_with_where_its_files_come_from(root: Path, stored: Path) -> None:
    volume(root / "tiny" / "2", stored, "monday")
    with pytest.raises(BundleUpdateError) as caught:
        update_bundle(root / "tiny" / "2", night)
    assert str(caught.value) == (
        "bundle tiny/2: README.md is a link, to ..data/README.md; change the bundle where its files come from, or copy "
        "it"
    )
    assert "night" not in load_bundle(root / "tiny" / "2").manifest.operating_points


def test_an_update_of_a_link_that_is_switched_meanwhile_changes_neither_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (write_tiny_bundle(tmp_path / f"made{seed}", seed=seed) for seed in (1, 2))
    link = root / "tiny" / "1"
    link.symlink_to(old)

    def load(path: Path) -> Bundle:
        switch(link, new)
        return load_bundle(path)

    monkeypatch.setattr(updating, "load_bundle", load)
    with pytest.raises(BundleUpdateError, match="bundle tiny/1: the link was changed while it was read; start again"):
        update_bundle(link, night)
    for folder in (old, new):
        assert "night" not in load_bundle(folder).manifest.operating_points


def test_an_update_through_a_broken_link_is_refused(root: Path) -> None:
    (root / "tiny" / "1").symlink_to("gone/1")
    with pytest.raises(BundleUpdateError, match="bundle tiny/1: "):
        update_bundle(root / "tiny" / "1", night)


def test_an_unlisted_file_behind_a_link_is_refused_as_elsewhere(root: Path, stored: Path) -> None:
    (stored / "extra").write_text("x")
    (root / "tiny" / "2").symlink_to(stored)
    with pytest.raises(BundleChecksumError, match="bundle tiny/2: extra is not listed"):
        load_bundle(root / "tiny" / "2")


def test_the_saved_bundle_and_the_loaded_one_lie_at_the_same_place(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "models").symlink_to("real")
    model = TinyModel()
    saved = save_bundle(
        tmp_path / "models" / "tiny" / "1",
        model.manifest(),
        model_onnx=model.onnx().SerializeToString(),
        class_effect=model.class_effect,
        mean_feature=model.mean_feature,
        class_counts=model.counts,
        readme="# card",
    )
    loaded = load_bundle(tmp_path / "models" / "tiny" / "1")
    assert (saved.path, saved.folder, saved.place) == (loaded.path, loaded.folder, str(loaded.path))
