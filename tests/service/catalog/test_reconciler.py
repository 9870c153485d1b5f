"""What becomes of the models in service when the folder changes: turn by turn, without a server and without a clock."""

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
from service.catalog.state import CatalogState
from service.errors import ModelLoadError, UnknownModelError, UnknownVersionError
from service.inference.registry import Registry
from service.metrics import Metrics
from tests.tiny_bundle import write_tiny_bundle


class Kept:
    """A keeper over a folder; it looks when it is told to, or asked for a model."""

    def __init__(self, root: Path, most: int = 1) -> None:
        self.root = root
        self.registry = Registry()
        self.shelf = CatalogState(most)
        self.loads: list[str] = []
        self.before: Callable[[Path], None] = lambda _: None
        self.make: Callable[[Bundle], FakeEngine] = FakeEngine
        networks = Networks(None, self.registry, None)  # which does nothing before the server has started
        self.orders = LoadCommands(None)
        self.keeper = Reconciler(
            root, self.registry, self.load, networks, self.orders, Metrics(), watch_seconds=3600, shelf=self.shelf
        )
        self.look()

    def load(self, folder: Path) -> object:
        self.loads.append(f"{folder.parent.name}/{folder.name}")
        self.before(folder)
        return load_model(folder, self.make, 4)

    def look(self) -> None:
        self.keeper.look()
        while self.keeper.turn():
            pass

    def order(self, name: str, *, load: bool) -> "Future[None]":
        done: Future[None] = Future()
        self.keeper.new.put(PendingCommand(name, load, done))
        while self.keeper.turn():
            pass
        return done

    def running(self) -> dict[str, list[int]]:
        return {m.name: [each.version for each in self.registry.versions_of(m.name)] for m in self.registry}

    def refused(self) -> dict[str, str]:
        return {f"{each.name}/{each.version}": each.reason for each in self.shelf.refusals()}

    def states(self) -> dict[str, str]:
        running = self.running()
        return {f"{each.name}/{each.version}": each.state for each in self.shelf.entries(running, None)}


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """Two models, of one version each."""
    root = tmp_path / "models"
    write_tiny_bundle(root, "a")
    write_tiny_bundle(root, "b")
    return Kept(root)


def spoil(folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])


def test_a_new_version_takes_the_place_of_the_one_before(kept: Kept) -> None:
    old = kept.registry.get("a")
    write_tiny_bundle(kept.root, "a", 3)
    kept.look()
    assert (kept.running(), kept.loads) == ({"a": [3], "b": [1]}, ["a/1", "b/1", "a/3"])
    assert not kept.registry.serves(old)
    with pytest.raises(UnknownVersionError, match="version 1 of a is not in service; there are: 3"):
        kept.registry.get("a", 1)


def test_what_was_loaded_is_left_alone_as_long_as_its_files_are_the_same(kept: Kept) -> None:
    for _ in range(3):
        kept.look()
    assert kept.loads == ["a/1", "b/1"]


def test_a_bad_version_replaces_nothing_and_is_tried_once(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    spoil(write_tiny_bundle(kept.root, "a", 2))
    for _ in range(3):
        kept.look()
    assert kept.running() == {"a": [1], "b": [1]}
    assert "model.onnx is not the file that was saved" in kept.refused()["a/2"]
    assert kept.loads.count("a/2") == 1
    assert len([each for each in caplog.records if "a version 2 is refused" in each.getMessage()]) == 1
    assert kept.states() == {"a/1": "READY", "a/2": "UNAVAILABLE", "b/1": "READY"}


def test_a_half_copied_bundle_is_served_once_it_is_whole_and_holds_still(kept: Kept, tmp_path: Path) -> None:
    whole = write_tiny_bundle(tmp_path / "elsewhere", "a", 2)
    there = kept.root / "a" / "2"
    there.mkdir()
    for file in sorted(whole.iterdir()):
        kept.look()
        shutil.copy(file, there)
    assert (kept.running()["a"], list(kept.refused())) == ([1], ["a/2"])
    kept.look()
    kept.look()
    assert (kept.running()["a"], kept.refused()) == ([2], {})
    assert kept.loads.count("a/2") == 2, "not at every look in between"


def test_a_version_that_goes_is_followed_by_the_next_lower_good_one(kept: Kept) -> None:
    for version in (2, 3, 4):
        write_tiny_bundle(kept.root, "a", version)
    spoil(kept.root / "a" / "3")
    kept.look()
    shutil.rmtree(kept.root / "a" / "4")
    seen = []
    kept.before = lambda _: seen.append(kept.running()["a"])
    kept.look()
    assert (kept.running()["a"], seen) == ([2], [[4], [4]]), "4 answers until 2 is loaded; 3 is tried and refused"


def test_one_version_removed_and_another_added_are_one_swap(kept: Kept) -> None:
    shutil.rmtree(kept.root / "a" / "1")
    write_tiny_bundle(kept.root, "a", 2)
    kept.before = lambda _: kept.registry.get("a", 1)
    kept.look()
    assert kept.running()["a"] == [2]


def test_a_model_that_goes_is_gone(kept: Kept) -> None:
    shutil.rmtree(kept.root / "a")
    kept.look()
    assert kept.running() == {"b": [1]}
    with pytest.raises(UnknownModelError, match="there is no model 'a'; there are: b"):
        kept.registry.get("a")


def test_a_changed_bundle_takes_the_place_of_what_was_loaded(kept: Kept) -> None:
    old = kept.registry.get("a")
    update_bundle(kept.root / "a" / "1", lambda bundle: Revision(bundle.manifest, readme="# another card\n"))
    kept.look()
    new = kept.registry.get("a")
    assert (new.version, new is old, new.bundle.manifest.sha256 == old.bundle.manifest.sha256) == (1, False, False)


def test_bad_files_in_the_place_of_a_version_that_runs_leave_it_running(kept: Kept) -> None:
    old = kept.registry.get("a")
    spoil(kept.root / "a" / "1")
    kept.look()
    kept.look()
    assert kept.registry.get("a") is old
    assert (list(kept.refused()), kept.states()["a/1"]) == (["a/1"], "READY")
    shutil.rmtree(kept.root / "a" / "1")
    kept.look()
    assert kept.running() == {"b": [1]}


def test_as_many_versions_are_served_as_asked_for(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        write_tiny_bundle(tmp_path, "a", version)
    kept = Kept(tmp_path, most=2)
    assert (kept.running(), kept.loads) == ({"a": [2, 3]}, ["a/3", "a/2"])
    assert kept.registry.get("a").version == 3
    assert kept.states() == {"a/1": "UNAVAILABLE", "a/2": "READY", "a/3": "READY"}
    write_tiny_bundle(tmp_path, "a", 4)
    kept.look()
    assert kept.running() == {"a": [3, 4]}


def test_the_whole_folder_may_go_and_come_again(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.root.rename(kept.root.with_name("away"))
    kept.look()
    kept.look()
    kept.root.mkdir()  # as where a file system is not mounted any more
    kept.look()
    assert kept.running() == {"a": [1], "b": [1]}
    kept.root.rmdir()
    kept.root.with_name("away").rename(kept.root)
    kept.look()
    assert (kept.running(), kept.loads) == ({"a": [1], "b": [1]}, ["a/1", "b/1"])
    said = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert [text.partition(str(kept.root))[0] for text in said] == [
        "the models folder ", "an empty folder has taken the place of the models folder ", "the models folder "
    ]  # fmt: skip
    assert said[-1].endswith("is there again")


def test_models_that_were_removed_one_by_one_are_gone(kept: Kept) -> None:
    for name in ("a", "b"):
        shutil.rmtree(kept.root / name)
    kept.look()
    assert kept.running() == {}


def test_what_is_no_folder_of_a_bundle_is_listed_and_said_once(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(1000):
        (kept.root / f"Junk {number}").mkdir()
    (kept.root / "a" / "next").mkdir()
    (kept.root / "a" / "2").symlink_to("2")
    kept.look()
    kept.look()
    assert (kept.running(), len(kept.refused())) == ({"a": [1], "b": [1]}, 1002)
    assert kept.refused()["a/next"].startswith("no version; a version is 1, 2, 3")
    assert "symbolic links" in kept.refused()["a/2"]
    assert "Junk 0/None" in kept.refused()
    assert 20 < len(caplog.records) < 40
    (kept.root / "a" / "next").rmdir()
    kept.look()
    assert "a/next" not in kept.refused()


def test_a_pipe_in_a_files_place_holds_nobody_up(kept: Kept) -> None:
    path = write_tiny_bundle(kept.root, "a", 2) / "model.onnx"
    path.unlink()
    os.mkfifo(path)
    kept.look()
    assert kept.refused()["a/2"] == "bundle a/2: model.onnx is not a regular file"


def test_a_link_to_another_model_is_refused(kept: Kept) -> None:
    (kept.root / "c").symlink_to("b")
    kept.look()
    assert kept.refused()["c/1"].startswith("bundle c/1: a link leads to b/1")


def test_a_bundle_that_changes_while_it_is_loaded_is_loaded_again(kept: Kept, tmp_path: Path) -> None:
    write_tiny_bundle(kept.root, "a", 2)
    others = [write_tiny_bundle(tmp_path / str(seed), "a", 2, seed=seed) for seed in (1, 2)]

    def exchange(folder: Path) -> None:
        if others:
            folder.rename(tmp_path / f"old{len(others)}")
            others.pop().rename(folder)

    kept.before = exchange
    kept.look()
    kept.look()
    assert (kept.running()["a"], kept.loads[2:]) == ([2], ["a/2"] * 3)


def test_one_that_never_holds_still_is_refused(kept: Kept) -> None:
    path = write_tiny_bundle(kept.root, "a", 2) / "README.md"
    kept.before = lambda _: path.touch()
    kept.look()
    assert kept.refused()["a/2"] == "bundle a/2: its files change while they are read"


def test_an_unexpected_failure_is_a_refusal_and_the_log_has_it(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    def fail(folder: Path) -> None:
        raise MemoryError

    kept.before = fail
    write_tiny_bundle(kept.root, "a", 2)
    kept.look()
    assert "in a way nobody expected" in kept.refused()["a/2"]
    assert "MemoryError" in caplog.text


def test_a_device_that_is_not_there_stops_the_start_but_no_server_that_runs(kept: Kept) -> None:
    def make(bundle: Bundle) -> FakeEngine:
        raise DeviceError("no such device")

    kept.make = make
    write_tiny_bundle(kept.root, "a", 2)
    with pytest.raises(DeviceError):
        kept.look()
    kept.keeper.starting = False
    kept.look()
    assert (kept.running()["a"], kept.refused()) == ([1], {"a/2": "no such device"})


def test_unloaded_a_model_stays_out_whatever_comes_until_it_is_loaded(kept: Kept) -> None:
    kept.order("a", load=False).result(0)
    write_tiny_bundle(kept.root, "a", 2)
    kept.look()
    assert (kept.running(), kept.states()["a/2"]) == ({"b": [1]}, "UNAVAILABLE")
    kept.order("a", load=True).result(0)
    assert kept.running() == {"a": [2], "b": [1]}
    kept.order("a", load=True).result(0)
    assert kept.loads.count("a/2") == 1, "asking for what is served changes nothing"


def test_loading_tries_again_what_was_refused_and_says_what_goes_on(kept: Kept) -> None:
    spoil(write_tiny_bundle(kept.root, "a", 2))
    kept.look()
    with pytest.raises(
        ModelLoadError, match=r"bundle a/2: model\.onnx is not the file .*; version 1 goes on being served"
    ):
        kept.order("a", load=True).result(0)
    assert kept.loads.count("a/2") == 2
    kept.order("a", load=False).result(0)
    shutil.rmtree(kept.root / "a" / "1")
    with pytest.raises(ModelLoadError, match="nothing of it is served"):
        kept.order("a", load=True).result(0)


@pytest.mark.parametrize("name", ["nothing", "../a", "", "a/1", "ä", ".hidden"])
def test_an_order_for_what_is_not_there_is_refused_and_leaves_no_trace(kept: Kept, name: str) -> None:
    for load in (True, False):
        with pytest.raises(UnknownModelError, match="there are: a, b"):
            kept.order(name, load=load).result(0)
    assert not kept.orders.standing().asked.keys() | kept.orders.standing().kept_out


def test_an_order_while_the_folder_is_away_says_so(kept: Kept) -> None:
    kept.order("a", load=False).result(0)
    kept.root.rename(kept.root.with_name("away"))
    with pytest.raises(ModelLoadError, match=r"there is no folder .* at present"):
        kept.order("a", load=True).result(0)
    kept.root.with_name("away").rename(kept.root)
    kept.order("a", load=True).result(0)
    assert kept.running() == {"a": [1], "b": [1]}


def test_where_nobody_watches_only_what_is_asked_for_is_looked_at(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tiny_bundle(tmp_path, name)
    kept = Kept(tmp_path)
    kept.keeper._watch_seconds = 0
    for name in ("a", "b"):
        write_tiny_bundle(tmp_path, name, 2)
    kept.order("b", load=True).result(0)
    assert kept.running() == {"a": [1], "b": [2]}
    assert kept.keeper.seconds_to_wait() is None


def test_what_was_asked_for_is_loaded_first(kept: Kept) -> None:
    for name in ("c", "d", "e"):
        write_tiny_bundle(kept.root, name)
    kept.order("d", load=True).result(0)
    assert kept.loads[2:] == ["d/1", "c/1", "e/1"]


def test_a_model_that_went_is_freed_when_its_last_user_is_done(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    user = kept.registry.get("a")
    engine = weakref.ref(user.engine)
    write_tiny_bundle(kept.root, "a", 2)
    with caplog.at_level(logging.INFO):
        kept.look()
        gc.collect()
        assert engine() is not None
        del user
        assert engine() is None, "freed at once, not at the next collection of garbage"
    assert "model a version 1 is freed, " in caplog.text
    assert "model a: version 2 is in service; before: 1" in caplog.text
