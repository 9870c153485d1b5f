"""A place that takes nothing is a sentence before the work, and trying it leaves nothing behind."""

from pathlib import Path

import pytest

from tests.tiny_bundle import write_tiny_bundle
from training import __main__ as cli
from training.errors import TrainingError
from training.output_files import check_output_file, check_output_folder

FIT = "fit --data nowhere --backbone efficientnet_lite0 --weights nowhere.pth"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_tiny_bundle(tmp_path / "models")
    (tmp_path / "notes").write_text("mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("evaluate models/tiny/1 --data nowhere --json /proc/x.json", "/proc/x.json: no file can be written there"),
        ("tune models/tiny/1 --data nowhere --plot /proc/x.svg", "/proc/x.svg: no file can be written there"),
        (
            f"evaluate models/tiny/1 --data nowhere --json {'x' * 300}",
            "no file can be written there (File name too long)",
        ),
        (f"{FIT} --out models/mine --cache notes", "--cache notes: notes is no folder; name one"),
        (f"{FIT} --out models/mine --cache notes/below", "--cache notes/below: "),
        (f"{FIT} --out models/mine --cache /proc/x", "--cache /proc/x: nothing can be written there"),
        (f"{FIT} --out /proc/mine", "--out /proc/mine: nothing can be written there"),
        ("export run --out /proc/mine/1", "--out /proc/mine: nothing can be written there"),
        ("train cifar10-lt-short --data nowhere --out notes", "--out notes: notes is no folder; name one"),
        ("train cifar10-lt-short --data nowhere --out /proc/x/y", "--out /proc/x/y: nothing can be written there"),
    ],
)
def test_a_place_that_takes_nothing_is_refused_before_the_work(
    root: Path, words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = listed(root)
    assert cli.main(words.split()) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "Errno" not in said
    assert listed(root) == before


def test_what_can_be_written_passes_and_nothing_is_left(root: Path) -> None:
    before = listed(root)
    check_output_file(root / "notes")
    check_output_file(root / "new.json")
    check_output_file(Path("/dev/null"))
    check_output_file(None)
    check_output_folder(root / "a" / "b", "--out")
    check_output_folder(Path("models"), "--out")
    assert listed(root) == before
    assert (root / "notes").read_text() == "mine"


def test_a_folder_is_no_place_for_a_file(root: Path) -> None:
    with pytest.raises(TrainingError, match="models is a folder; give the name of a file"):
        check_output_file(Path("models"))
    with pytest.raises(TrainingError, match="the folder none does not exist; make it first"):
        check_output_file(Path("none/x.json"))
