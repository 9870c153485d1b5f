"""A bundle is revised while others read it: they find the old one or the new one, whatever happens."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from models.bundle import Bundle, load_bundle
from models.durable_files import exchange
from models.errors import BundleError, BundlePathError, BundleUpdateError, ManifestError
from models.manifest import OperatingPoint
from models.update import Revision, update_bundle
from tests.tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).parents[2]
AS_NOBODY_SPECIAL = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
REVISING = """
import dataclasses, os, signal, sys
from models.bundle import load_bundle
from models.update import Revision, update_bundle

def number(bundle):
    return bundle.manifest.metrics.get("number", 0)

def revise(bundle):
    manifest = dataclasses.replace(bundle.manifest, metrics={"number": number(bundle) + 1})
    return Revision(manifest, f"# {number(bundle) + 1}", {"curve.svg": b"<svg/>" * number(bundle)})
"""
FOR_EVER = """
while True:
    print(number(update_bundle(sys.argv[1], revise)), flush=True)
"""
DYING_AT_EVERY_LINE = """
def die_at(line):
    left = [line]
    def trace(frame, event, _):
        if not frame.f_code.co_filename.endswith(("update.py", "durable_files.py", "shutil.py")):
            return None
        left[0] -= event == "line"
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
    return trace

line, status, numbers = 0, -1, [0]
while status:
    child = os.fork()
    if not child:
        sys.settrace(die_at(line))
        update_bundle(sys.argv[1], revise)
        sys.settrace(None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), status
    numbers.append(number(load_bundle(sys.argv[1])))
    assert numbers[-1] - numbers[-2] in (0, 1)
    card = open(sys.argv[1] + "/README.md").read()
    assert not numbers[-1] or card == f"# {numbers[-1]}"
    line += 1
print(line, numbers[-1])
"""


def with_point(name: str, alpha: float = 0.5) -> dict[str, OperatingPoint]:
    return {name: OperatingPoint(alpha, "for tests")}


def add(name: str, readme: str | None = None, **files: bytes) -> "Revising":
    return Revising(name, readme, {f"{key}.svg": value for key, value in files.items()})


@dataclasses.dataclass(frozen=True)
class Revising:
    """Adds an operating point, and a card and files where given."""

    name: str
    readme: str | None
    files: dict[str, bytes]

    def __call__(self, bundle: Bundle) -> Revision:
        points = bundle.manifest.operating_points | with_point(self.name)
        return Revision(dataclasses.replace(bundle.manifest, operating_points=points), self.readme, self.files)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_a_revision_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path)
    before = contents(path)
    revised = update_bundle(path, add("mine", "# new card", curve=b"<svg/>"))
    again = load_bundle(path)
    assert revised.path == path
    assert again.manifest == revised.manifest
    assert again.manifest.operating_points["mine"].alpha == 0.5
    assert contents(path) | {"manifest.json": b""} == before | {
        "manifest.json": b"", "README.md": b"# new card", "curve.svg": b"<svg/>"
    }  # fmt: skip
    assert [entry.name for entry in path.parent.iterdir()] == ["1"]


def test_a_card_and_files_that_are_not_given_stay(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path)
    update_bundle(path, add("one", "# card", curve=b"<svg/>"))
    update_bundle(path, add("two"))
    assert (contents(path)["README.md"], contents(path)["curve.svg"]) == (b"# card", b"<svg/>")
    assert {"one", "two"} <= load_bundle(path).manifest.operating_points.keys()


def test_hidden_files_and_permissions_stay(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path)
    (path / ".git").mkdir()
    (path / ".git" / "HEAD").write_text("ref")
    (path / ".link").symlink_to("nowhere")
    (path / "model.onnx").chmod(0o640)
    path.chmod(0o750)
    update_bundle(path, add("mine", curve=b"<svg/>"))
    assert (path / ".git" / "HEAD").read_text() == "ref"
    assert (path / ".link").readlink() == Path("nowhere")
    assert [entry.stat().st_mode & 0o777 for entry in (path, path / "model.onnx")] == [0o750, 0o640]


@pytest.mark.parametrize(
    ("files", "error", "sentence"),
    [
        ({"model.onnx": b""}, BundlePathError, "extra file model.onnx would replace"),
        ({"manifest.json": b""}, BundlePathError, "extra file manifest.json would replace"),
        ({"../escaped.svg": b""}, ManifestError, "is not the plain name of another file"),
    ],
)
def test_a_revision_that_is_refused_changes_nothing(
    tmp_path: Path, files: dict[str, bytes], error: type[BundleError], sentence: str
) -> None:
    path = write_tiny_bundle(tmp_path)
    before = contents(path)
    with pytest.raises(error, match=sentence):
        update_bundle(path, lambda bundle: Revision(bundle.manifest, extra_files=files))
    assert contents(path) == before
    assert [entry.name for entry in path.parent.iterdir()] == ["1"]


def test_a_bundle_cannot_become_another_one(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path)
    for changes in ({"version": 2}, {"name": "other"}, {"num_heads": 1}):
        with pytest.raises(BundleError, match="bundle tiny/1: "):
            update_bundle(path, lambda bundle, wrong=changes: Revision(dataclasses.replace(bundle.manifest, **wrong)))
    assert load_bundle(path).manifest.version == 1


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tiny_bundle(tmp_path)
    before = contents(path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BundleUpdateError, match=r"bundle tiny/1: could not be replaced: .*No space left"):
        update_bundle(path, add("mine"))
    assert contents(path) == before
    assert [entry.name for entry in path.parent.iterdir()] == ["1"]


def test_what_is_no_bundle_is_not_updated(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="bundle nowhere/1: "):
        update_bundle(tmp_path / "nowhere" / "1", add("mine"))
    (tmp_path / "tiny").mkdir()
    with pytest.raises(BundleError, match="bundle tiny/1: there is no folder"):
        update_bundle(tmp_path / "tiny" / "1", add("mine"))


def test_where_folders_cannot_be_exchanged_it_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(OSError, match="No such file or directory"):
        exchange(tmp_path / "one", tmp_path / "two")


def test_a_read_only_bundle_is_refused_and_stays(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path)
    before = contents(path)
    for folder in (path, path.parent):
        folder.chmod(0o555)
        done = subprocess.run(
            [*AS_NOBODY_SPECIAL, sys.executable, "-c", REVISING + "update_bundle(sys.argv[1], revise)", str(path)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        folder.chmod(0o755)
        assert f"BundleUpdateError: bundle tiny/1: the folder {folder} cannot be written; copy" in done.stderr
    assert contents(path) == before
    assert [entry.name for entry in path.parent.iterdir()] == ["1"]


@pytest.mark.slow
def test_a_process_killed_at_any_line_leaves_a_bundle(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", REVISING + DYING_AT_EVERY_LINE, str(path)], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines, number = map(int, done.stdout.split())
    assert lines > 50
    assert number > 1  # some died after the exchange
    update_bundle(path, add("mine"))
    assert [entry.name for entry in path.parent.iterdir()] == ["1"]


def test_who_reads_meanwhile_is_never_refused(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path)
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", REVISING + FOR_EVER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            first = int(writer.stdout.readline())
            seen = set[int]()
            while len(seen) < 4:  # however slow the writer is; pytest's own timeout is the last word
                seen.add(load_bundle(path).manifest.metrics["number"])
            writer.send_signal(signal.SIGKILL)
        assert min(seen) >= first
        assert load_bundle(path).manifest.metrics["number"] >= max(seen)


def test_two_who_update_at_once_both_have_it(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path)
    names = [f"point{index}" for index in range(12)]
    threads = [threading.Thread(target=update_bundle, args=(path, add(name, f"# {name}"))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    points = load_bundle(path).manifest.operating_points
    assert set(names) <= points.keys()
    assert contents(path)["README.md"].decode() == f"# {list(points)[-1]}"


def test_a_revision_that_fails_lets_the_next_one_in(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path)

    def fail(_: Bundle) -> Revision:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        update_bundle(path, fail)
    assert "next" in update_bundle(path, add("next")).manifest.operating_points
