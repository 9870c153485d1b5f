"""The models in service follow the models folder, step by step, without a server and without a clock."""

import gc
import logging
import os
import shutil
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from engines.base import DeviceError
from engines.fake import FakeEngine
from models.bundle import Bundle
from models.update import Revision, update_bundle
from service.catalog.load_commands import LoadCommands
from service.catalog.loader import load_model
from service.catalog.networks import Networks
from service.catalog.reconciler import PendingCommand, Reconciler
from service.errors import ModelLoadError, UnknownModelError, UnknownVersionError
from service.inference.registry import Registry
from service.metrics import Metrics
from tests.linked_bundles import switch, volume
from tests.tiny_bundle import write_tiny_bundle


class SteppedCatalog:
    """A reconciler over a folder, which runs only when the test asks it to."""

    def __init__(self, root: Path, max_versions: int = 1) -> None:
        self.root = root
        self.registry = Registry()
        self.loads: list[str] = []
        self.before: Callable[[Path], None] = lambda _: None
        self.make: Callable[[Bundle], FakeEngine] = FakeEngine
        networks = Networks(None, self.registry, None)  # which does nothing before the server has started
        self.commands = LoadCommands(None)
        self.reconciler = Reconciler(
            root,
            self.registry,
            self.load,
            networks,
            self.commands,
            Metrics(),
            watch_seconds=3600,
            max_versions=max_versions,
        )
        self.scan()

    def load(self, folder: Path) -> object:
        self.loads.append(f"{folder.parent.name}/{folder.name}")
        self.before(folder)
        return load_model(folder, self.make, 4)

    def scan(self) -> None:
        self.reconciler.scan()
        while self.reconciler.step():
            pass

    def command(self, name: str, *, load: bool) -> "Future[None]":
        done: Future[None] = Future()
        self.reconciler.new_commands.put(PendingCommand(name, load, done))
        while self.reconciler.step():
            pass
        return done

    def running(self) -> dict[str, list[int]]:
        return {m.name: [served.version for served in self.registry.versions_of(m.name)] for m in self.registry}

    def refused(self) -> dict[str, str]:
        return {f"{refusal.name}/{refusal.version}": refusal.reason for refusal in self.reconciler.state.refusals()}

    def states(self) -> dict[str, str]:
        entries = self.reconciler.state.entries(self.running(), None)
        return {f"{entry.name}/{entry.version}": entry.state for entry in entries}


@pytest.fixture
def catalog(tmp_path: Path) -> SteppedCatalog:
    """Two models with one version each."""
    root = tmp_path / "models"
    write_tiny_bundle(root, "a")
    write_tiny_bundle(root, "b")
    return SteppedCatalog(root)


def spoil(folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])


def test_a_new_version_replaces_the_old_one(catalog: SteppedCatalog) -> None:
    old = catalog.registry.get("a")
    write_tiny_bundle(catalog.root, "a", 3)
    catalog.scan()
    assert (catalog.running(), catalog.loads) == ({"a": [3], "b": [1]}, ["a/1", "b/1", "a/3"])
    assert not catalog.registry.serves(old)
    with pytest.raises(UnknownVersionError, match="version 1 of a is not in service; there are: 3"):
        catalog.registry.get("a", 1)


def test_a_loaded_version_is_not_loaded_again_if_its_files_are_the_same(catalog: SteppedCatalog) -> None:
    for _ in range(3):
        catalog.scan()
    assert catalog.loads == ["a/1", "b/1"]


def test_a_bad_version_replaces_nothing_and_is_tried_once(
    catalog: SteppedCatalog, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(write_tiny_bundle(catalog.root, "a", 2))
    for _ in range(3):
        catalog.scan()
    assert catalog.running() == {"a": [1], "b": [1]}
    assert "model.onnx is not the file that was saved" in catalog.refused()["a/2"]
    assert catalog.loads.count("a/2") == 1
    assert len([each for each in caplog.records if "a version 2 is refused" in each.getMessage()]) == 1
    assert catalog.states() == {"a/1": "READY", "a/2": "UNAVAILABLE", "b/1": "READY"}


def test_a_half_copied_bundle_is_served_once_the_copy_is_complete(catalog: SteppedCatalog, tmp_path: Path) -> None:
    whole = write_tiny_bundle(tmp_path / "elsewhere", "a", 2)
    target = catalog.root / "a" / "2"
    target.mkdir()
    for file in sorted(whole.iterdir()):
        catalog.scan()
        shutil.copy(file, target)
    assert (catalog.running()["a"], list(catalog.refused())) == ([1], ["a/2"])
    catalog.scan()
    catalog.scan()
    assert (catalog.running()["a"], catalog.refused()) == ([2], {})
    assert catalog.loads.count("a/2") == 2, "not at every scan in between"


def test_a_removed_version_is_replaced_by_the_next_lower_good_one(catalog: SteppedCatalog) -> None:
    for version in (2, 3, 4):
        write_tiny_bundle(catalog.root, "a", version)
    spoil(catalog.root / "a" / "3")
    catalog.scan()
    shutil.rmtree(catalog.root / "a" / "4")
    seen = []
    catalog.before = lambda _: seen.append(catalog.running()["a"])
    catalog.scan()
    assert (catalog.running()["a"], seen) == ([2], [[4], [4]]), "4 answers until 2 is loaded; 3 is tried and refused"


def test_one_version_removed_and_another_added_are_one_swap(catalog: SteppedCatalog) -> None:
    shutil.rmtree(catalog.root / "a" / "1")
    write_tiny_bundle(catalog.root, "a", 2)
    catalog.before = lambda _: catalog.registry.get("a", 1)
    catalog.scan()
    assert catalog.running()["a"] == [2]


def test_a_removed_model_is_out_of_service(catalog: SteppedCatalog) -> None:
    shutil.rmtree(catalog.root / "a")
    catalog.scan()
    assert catalog.running() == {"b": [1]}
    with pytest.raises(UnknownModelError, match="there is no model 'a'; there are: b"):
        catalog.registry.get("a")


def test_a_changed_bundle_replaces_the_loaded_one(catalog: SteppedCatalog) -> None:
    old = catalog.registry.get("a")
    update_bundle(catalog.root / "a" / "1", lambda bundle: Revision(bundle.manifest, readme="# another card\n"))
    catalog.scan()
    new = catalog.registry.get("a")
    assert (new.version, new is old, new.bundle.manifest.sha256 == old.bundle.manifest.sha256) == (1, False, False)


def test_a_version_whose_files_become_bad_stays_in_service(catalog: SteppedCatalog) -> None:
    old = catalog.registry.get("a")
    spoil(catalog.root / "a" / "1")
    catalog.scan()
    catalog.scan()
    assert catalog.registry.get("a") is old
    assert (list(catalog.refused()), catalog.states()["a/1"]) == (["a/1"], "READY")
    shutil.rmtree(catalog.root / "a" / "1")
    catalog.scan()
    assert catalog.running() == {"b": [1]}


def test_as_many_versions_are_served_as_configured(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        write_tiny_bundle(tmp_path, "a", version)
    catalog = SteppedCatalog(tmp_path, max_versions=2)
    assert (catalog.running(), catalog.loads) == ({"a": [2, 3]}, ["a/3", "a/2"])
    assert catalog.registry.get("a").version == 3
    assert catalog.states() == {"a/1": "UNAVAILABLE", "a/2": "READY", "a/3": "READY"}
    write_tiny_bundle(tmp_path, "a", 4)
    catalog.scan()
    assert catalog.running() == {"a": [3, 4]}


def test_the_whole_folder_may_be_unavailable_for_some_time(
    catalog: SteppedCatalog, caplog: pytest.LogCaptureFixture
) -> None:
    catalog.root.rename(catalog.root.with_name("away"))
    catalog.scan()
    catalog.scan()
    catalog.root.mkdir()  # as after a file system was unmounted
    catalog.scan()
    assert catalog.running() == {"a": [1], "b": [1]}
    catalog.root.rmdir()
    catalog.root.with_name("away").rename(catalog.root)
    catalog.scan()
    assert (catalog.running(), catalog.loads) == ({"a": [1], "b": [1]}, ["a/1", "b/1"])
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [text.partition(str(catalog.root))[2].partition(";")[0] for text in messages] == [
        " cannot be read: No such file or directory", " was replaced by an empty one", " is available again"
    ]  # fmt: skip


def test_models_that_were_removed_one_by_one_are_out_of_service(catalog: SteppedCatalog) -> None:
    for name in ("a", "b"):
        shutil.rmtree(catalog.root / name)
    catalog.scan()
    assert catalog.running() == {}


def test_invalid_folders_are_listed_and_logged_once(catalog: SteppedCatalog, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(1000):
        (catalog.root / f"Junk {number}").mkdir()
    (catalog.root / "a" / "next").mkdir()
    (catalog.root / "a" / "2").symlink_to("2")
    catalog.scan()
    catalog.scan()
    assert (catalog.running(), len(catalog.refused())) == ({"a": [1], "b": [1]}, 1002)
    assert catalog.refused()["a/next"].startswith("not a version; a version is 1, 2, 3")
    assert "symbolic links" in catalog.refused()["a/2"]
    assert "Junk 0/None" in catalog.refused()
    assert 20 < len(caplog.records) < 40
    (catalog.root / "a" / "next").rmdir()
    catalog.scan()
    assert "a/next" not in catalog.refused()


def test_a_pipe_in_place_of_a_file_does_not_block(catalog: SteppedCatalog) -> None:
    path = write_tiny_bundle(catalog.root, "a", 2) / "model.onnx"
    path.unlink()
    os.mkfifo(path)
    catalog.scan()
    assert catalog.refused()["a/2"] == "bundle a/2: model.onnx is not a regular file"


def test_a_link_to_another_model_is_refused(catalog: SteppedCatalog) -> None:
    (catalog.root / "c").symlink_to("b")
    catalog.scan()
    assert catalog.refused()["c/1"] == (
        "bundle c/1: manifest.json says it is b/1; name the folder so, or the link to it"
    )


def test_a_linked_version_is_served_under_its_own_name(catalog: SteppedCatalog, tmp_path: Path) -> None:
    stored = write_tiny_bundle(tmp_path / "made", "a", 2).rename(tmp_path / "tuesday")
    (catalog.root / "a" / "2").symlink_to(stored)
    catalog.scan()
    assert (catalog.running()["a"], catalog.refused()) == ([2], {})


def test_a_linked_model_is_served_under_its_own_name(catalog: SteppedCatalog, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "made", "c")
    (tmp_path / "made" / "c").rename(tmp_path / "release-7")
    (catalog.root / "c").symlink_to("../release-7")
    catalog.scan()
    assert (catalog.running(), catalog.refused()) == ({"a": [1], "b": [1], "c": [1]}, {})


def releases(tmp_path: Path) -> list[Path]:
    """Return the folders of two releases with the models a and b, whose networks differ."""
    roots = [tmp_path / f"release-{seed}" for seed in (1, 2)]
    for seed, root in enumerate(roots, 1):
        for name in ("a", "b"):
            write_tiny_bundle(root, name, seed=seed)
    return roots


def networks(catalog: SteppedCatalog) -> dict[str, str]:
    return {served.name: served.bundle.manifest.sha256["model.onnx"] for served in catalog.registry}


@pytest.mark.parametrize("linked", ["", "a", "a/1"])
def test_a_switched_link_is_noticed_wherever_it_stands(tmp_path: Path, linked: str) -> None:
    old, new = releases(tmp_path)
    root = tmp_path / "models"
    if linked:
        (root / linked).parent.mkdir(parents=True)
    (root / linked).symlink_to(old / linked)
    catalog = SteppedCatalog(root)
    before = networks(catalog)
    catalog.scan()
    assert networks(catalog) == before
    switch(root / linked, new / linked)
    catalog.scan()
    after = networks(catalog)
    assert (after.keys() == before.keys(), set(after.values()) & set(before.values())) == (True, set())
    assert (catalog.refused(), len(catalog.loads)) == ({}, 2 * len(before))
    shutil.rmtree(old)
    catalog.scan()
    assert (networks(catalog), len(catalog.loads)) == (after, 2 * len(before))


@pytest.mark.parametrize("place", ["", "a", "a/1"])
def test_a_switched_kubernetes_volume_is_noticed_wherever_it_is_mounted(tmp_path: Path, place: str) -> None:
    old, new = releases(tmp_path)
    root = tmp_path / "models"
    volume(root / place, old / place, "2026_11_29")
    catalog = SteppedCatalog(root)
    before = networks(catalog)
    volume(root / place, new / place, "2026_11_30")
    catalog.scan()
    after = networks(catalog)
    assert (after.keys() == before.keys(), set(after.values()) & set(before.values())) == (True, set())
    assert catalog.refused() == {}


@pytest.mark.parametrize("target", ["gone", "1"])
def test_a_link_that_breaks_leaves_its_version_in_service(tmp_path: Path, target: str) -> None:
    root = tmp_path / "models"
    (root / "a").mkdir(parents=True)
    (root / "a" / "1").symlink_to(write_tiny_bundle(tmp_path / "made", "a"))
    catalog = SteppedCatalog(root)
    switch(root / "a" / "1", target)
    catalog.scan()
    assert catalog.running() == {"a": [1]}
    assert ("leads nowhere" in catalog.refused()["a/1"]) == (target == "gone")
    assert ("symbolic links" in catalog.refused()["a/1"]) == (target == "1")


def test_a_bundle_that_changes_while_it_is_loaded_is_loaded_again(catalog: SteppedCatalog, tmp_path: Path) -> None:
    write_tiny_bundle(catalog.root, "a", 2)
    others = [write_tiny_bundle(tmp_path / str(seed), "a", 2, seed=seed) for seed in (1, 2)]

    def exchange(folder: Path) -> None:
        if others:
            folder.rename(tmp_path / f"old{len(others)}")
            others.pop().rename(folder)

    catalog.before = exchange
    catalog.scan()
    catalog.scan()
    assert (catalog.running()["a"], catalog.loads[2:]) == ([2], ["a/2"] * 3)


def test_a_bundle_that_changes_all_the_time_is_refused(catalog: SteppedCatalog) -> None:
    path = write_tiny_bundle(catalog.root, "a", 2) / "README.md"
    catalog.before = lambda _: path.touch()
    catalog.scan()
    assert catalog.refused()["a/2"] == "bundle a/2: its files change while they are read"


def test_an_unexpected_failure_is_a_refusal_and_is_logged(
    catalog: SteppedCatalog, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(folder: Path) -> None:
        raise MemoryError

    catalog.before = fail
    write_tiny_bundle(catalog.root, "a", 2)
    catalog.scan()
    assert "failed unexpectedly" in catalog.refused()["a/2"]
    assert "MemoryError" in caplog.text


def test_a_missing_device_ends_a_starting_server_but_not_a_running_one(catalog: SteppedCatalog) -> None:
    def make(bundle: Bundle) -> FakeEngine:
        raise DeviceError("no such device")

    catalog.make = make
    write_tiny_bundle(catalog.root, "a", 2)
    with pytest.raises(DeviceError):
        catalog.scan()
    catalog.reconciler.starting = False
    catalog.scan()
    assert (catalog.running()["a"], catalog.refused()) == ([1], {"a/2": "no such device"})


def test_an_unloaded_model_stays_out_of_service_until_it_is_loaded(catalog: SteppedCatalog) -> None:
    catalog.command("a", load=False).result(0)
    write_tiny_bundle(catalog.root, "a", 2)
    catalog.scan()
    assert (catalog.running(), catalog.states()["a/2"]) == ({"b": [1]}, "UNAVAILABLE")
    catalog.command("a", load=True).result(0)
    assert catalog.running() == {"a": [2], "b": [1]}
    catalog.command("a", load=True).result(0)
    assert catalog.loads.count("a/2") == 1, "loading a served model changes nothing"


def test_loading_tries_a_refused_version_again_and_reports_the_result(catalog: SteppedCatalog) -> None:
    spoil(write_tiny_bundle(catalog.root, "a", 2))
    catalog.scan()
    with pytest.raises(ModelLoadError, match=r"bundle a/2: model\.onnx is not the file .*; version 1 stays in service"):
        catalog.command("a", load=True).result(0)
    assert catalog.loads.count("a/2") == 2
    catalog.command("a", load=False).result(0)
    shutil.rmtree(catalog.root / "a" / "1")
    with pytest.raises(ModelLoadError, match="no version of it is in service"):
        catalog.command("a", load=True).result(0)


@pytest.mark.parametrize("name", ["nothing", "../a", "", "a/1", "ä", ".hidden"])
def test_a_command_for_an_unknown_model_is_refused_and_leaves_no_trace(catalog: SteppedCatalog, name: str) -> None:
    for load in (True, False):
        with pytest.raises(UnknownModelError, match="there are: a, b"):
            catalog.command(name, load=load).result(0)
    assert not catalog.commands.read().load_counts.keys() | catalog.commands.read().unloaded


def test_a_command_while_the_folder_is_missing_says_so(catalog: SteppedCatalog) -> None:
    catalog.command("a", load=False).result(0)
    catalog.root.rename(catalog.root.with_name("away"))
    with pytest.raises(ModelLoadError, match=r"the models folder .* does not exist at present"):
        catalog.command("a", load=True).result(0)
    catalog.root.with_name("away").rename(catalog.root)
    catalog.command("a", load=True).result(0)
    assert catalog.running() == {"a": [1], "b": [1]}


def test_without_watching_a_load_command_scans_only_its_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tiny_bundle(tmp_path, name)
    catalog = SteppedCatalog(tmp_path)
    catalog.reconciler._watch_seconds = 0
    for name in ("a", "b"):
        write_tiny_bundle(tmp_path, name, 2)
    catalog.command("b", load=True).result(0)
    assert catalog.running() == {"a": [1], "b": [2]}
    assert catalog.reconciler.seconds_to_wait() is None


def test_a_commanded_model_is_loaded_first(catalog: SteppedCatalog) -> None:
    for name in ("c", "d", "e"):
        write_tiny_bundle(catalog.root, name)
    catalog.command("d", load=True).result(0)
    assert catalog.loads[2:] == ["d/1", "c/1", "e/1"]


def test_a_replaced_model_is_freed_when_its_last_user_is_done(
    catalog: SteppedCatalog, caplog: pytest.LogCaptureFixture
) -> None:
    user = catalog.registry.get("a")
    engine = weakref.ref(user.engine)
    write_tiny_bundle(catalog.root, "a", 2)
    with caplog.at_level(logging.INFO):
        catalog.scan()
        gc.collect()
        assert engine() is not None
        del user
        assert engine() is None, "freed at once, not at the next garbage collection"
    assert "model a version 1 is freed, " in caplog.text
    assert "model a: version 2 is in service; before: 1" in caplog.text
