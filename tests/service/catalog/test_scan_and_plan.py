"""Scanning the models folder, planning what to serve, and load commands, without a server and without a clock."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.catalog.load_commands import CommandState, LoadCommands
from service.catalog.plan import Plan, plan, still_refused
from service.catalog.scan import fingerprint, scan, shown

MARKS = st.dictionaries(st.integers(1, 6), st.integers(0, 3).map(lambda mark: (mark,)))


def folder(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).mkdir(parents=True)
    return root


def test_a_scan_finds_names_and_versions_and_invalid_folders(tmp_path: Path) -> None:
    folder(tmp_path, "a.x/1", "a.x/10", "b/2", "Big/1", "c", "d/01", "d/next", "e/99999999999", ".hidden/x", "b/.new")
    (tmp_path / "README.md").write_text("a file is ignored")
    (tmp_path / "b" / "3").write_text("so is a file beside the versions")
    seen = scan(tmp_path)
    assert {name: sorted(versions) for name, versions in seen.models.items()} == {
        "a.x": [1, 10], "b": [2], "c": [], "d": [], "e": []
    }  # fmt: skip
    assert sorted(seen.invalid) == [("Big", ""), ("c", ""), ("d", "01"), ("d", "next"), ("e", "99999999999")]
    assert "no version in it" in seen.invalid["c", ""]


@pytest.mark.parametrize(
    "change",
    [
        lambda path: (path / "new").write_text("x"),
        lambda path: (path / "file").unlink(),
        lambda path: (path / "file").write_text("another length"),
        lambda path: (path / "file").chmod(0o600),
        lambda path: (
            shutil.copytree(path, path.with_name("2")) and (shutil.rmtree(path), path.with_name("2").rename(path))
        ),
    ],
)
def test_a_fingerprint_changes_with_the_files(tmp_path: Path, change: Callable[[Path], object]) -> None:
    path = folder(tmp_path, "1") / "1"
    (path / "file").write_text("x")
    before = fingerprint(path)
    assert fingerprint(path) == before
    change(path)
    assert fingerprint(path) != before


def test_a_replaced_file_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    path = folder(tmp_path, "1") / "1" / "file"
    path.write_text("x")
    before = fingerprint(path.parent)
    times = path.stat()
    path.write_text("y")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert fingerprint(path.parent) != before


def test_hidden_files_do_not_change_a_fingerprint(tmp_path: Path) -> None:
    before = fingerprint(folder(tmp_path, "1") / "1")
    (tmp_path / "1" / ".note").write_text("x")
    assert fingerprint(tmp_path / "1") == before


def test_nothing_in_the_folder_makes_a_scan_block_or_fail(tmp_path: Path) -> None:
    folder(tmp_path, "good/1", "pipe/1")
    os.mkfifo(tmp_path / "pipe" / "1" / "model.onnx")
    (tmp_path / "good" / "2").symlink_to("2")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / os.fsdecode(b"not-\xff-text")).mkdir()
    for number in range(1000):
        (tmp_path / f"Junk {number}").mkdir()
    seen = scan(tmp_path)
    assert list(seen.models) == ["good", "pipe"]
    assert seen.models["good"][2][0] == "unreadable"
    assert seen.unreadable == {"loop", "nowhere"}
    assert "symbolic links" in seen.invalid["loop", ""]
    assert len(seen.invalid) == 1003
    assert all(name.encode() for name, _ in seen.invalid), "every name can be encoded"


def test_a_long_name_is_shortened() -> None:
    assert shown("x" * 500) == "x" * 80 + "…"


@pytest.mark.parametrize(
    ("found", "loaded", "refused", "max_versions", "expected"),
    [
        ({1: "a", 2: "b"}, {}, [], 1, Plan(2, ())),
        ({1: "a", 2: "b"}, {2: "b"}, [], 1, Plan(None, (2,))),
        ({1: "a", 2: "b"}, {1: "a"}, [2], 1, Plan(None, (1,))),  # a bad version never replaces a good one
        ({1: "a", 2: "c"}, {2: "b"}, [], 1, Plan(2, ())),  # another bundle in its place
        ({1: "a", 2: "c"}, {2: "b"}, [2], 1, Plan(None, (2,))),  # a bad one: the loaded one stays
        ({1: "a"}, {2: "b"}, [], 1, Plan(1, ())),  # loaded before 2 is released
        ({1: "a"}, {2: "b"}, [1], 1, Plan(None, ())),
        ({1: "a", 3: "c"}, {2: "b"}, [], 1, Plan(3, ())),  # one removed, one added: one swap
        ({1: "a", 2: "b", 3: "c"}, {3: "c"}, [], 2, Plan(2, ())),
        ({1: "a", 2: "b", 3: "c"}, {3: "c", 1: "a"}, [2], 2, Plan(None, (1, 3))),
        ({}, {1: "a"}, [], 1, Plan(None, ())),
    ],
)
def test_the_next_step(found: object, loaded: object, refused: object, max_versions: int, expected: Plan) -> None:
    assert plan(found, loaded, refused, max_versions=max_versions) == expected


@given(found=MARKS, loaded=MARKS, refused=st.sets(st.integers(1, 6)), max_versions=st.integers(1, 3))
def test_following_the_plan_ends_with_the_highest_good_versions(
    found: dict[int, object], loaded: dict[int, object], refused: set[int], max_versions: int
) -> None:
    loads = 0
    while (step := plan(found, loaded, refused, max_versions=max_versions)).load is not None:
        loaded = loaded | {step.load: found[step.load]}
        loads = loads + 1
        assert loads <= max_versions
    good = [version for version in found if version not in refused or version in loaded]
    assert list(step.serve) == sorted(sorted(good)[-max_versions:])


def test_a_refused_version_is_tried_again_once_its_files_have_changed_and_then_stay_the_same() -> None:
    bad = {2: ("half",)}
    assert still_refused({2: ("half",)}, {2: ("half",)}, bad) == {2}
    assert still_refused({2: ("more",)}, {2: ("half",)}, bad) == {2}
    assert still_refused({2: ("more",)}, {2: ("more",)}, bad) == set()
    assert still_refused({}, {2: ("more",)}, bad) == set()


def test_commands_of_one_process_are_read_by_others_and_by_a_later_one(tmp_path: Path) -> None:
    path = tmp_path / "commands.json"
    one = LoadCommands(path)
    other = LoadCommands(path)
    assert one.read() == other.read() == CommandState()
    one.unload("a")
    one.unload("b")
    assert other.read().unloaded == {"a", "b"}
    other.load("a")
    assert one.read() == CommandState(frozenset({"b"}), {"a": 1})
    assert LoadCommands(path).read() == one.read()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["commands.json", "commands.lock"]


def test_with_one_process_commands_need_no_file() -> None:
    commands = LoadCommands(None)
    commands.unload("a")
    assert (commands.read().unloaded, commands.poll_seconds, commands.spread_seconds) == ({"a"}, None, 0.0)
