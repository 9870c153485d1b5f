"""An output that cannot be written is refused before the work, and the check leaves nothing behind."""

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
        ("evaluate models/tiny/1 --data nowhere --json /proc/x.json", "/proc/x.json: cannot be written"),
        ("tune models/tiny/1 --data nowhere --plot /proc/x.svg", "/proc/x.svg: cannot be written"),
        (
            f"evaluate models/tiny/1 --data nowhere --json {'x' * 300}",
            ": cannot be written (File name too long)",
        ),
        (f"{FIT} --out models/mine --cache notes", "--cache notes: notes is not a folder; name a folder"),
        (f"{FIT} --out models/mine --cache notes/below", "--cache notes/below: "),
        (f"{FIT} --out models/mine --cache /proc/x", "--cache /proc/x: cannot be written to"),
        (f"{FIT} --out /proc/mine", "--out /proc/mine: cannot be written to"),
        ("export run --out /proc/mine/1", "--out /proc/mine: cannot be written to"),
        ("train cifar10-lt-short --data nowhere --out notes", "--out notes: notes is not a folder; name a folder"),
        ("train cifar10-lt-short --data nowhere --out /proc/x/y", "--out /proc/x/y: cannot be written to"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    root: Path, words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = listed(root)
    assert cli.main(words.split()) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "Errno" not in said
    assert listed(root) == before


def test_outputs_that_can_be_written_pass_and_the_check_leaves_nothing_behind(root: Path) -> None:
    before = listed(root)
    check_output_file(root / "notes")
    check_output_file(root / "new.json")
    check_output_file(Path("/dev/null"))
    check_output_file(None)
    check_output_folder(root / "a" / "b", "--out")
    check_output_folder(Path("models"), "--out")
    assert listed(root) == before
    assert (root / "notes").read_text() == "mine"


def test_an_output_file_needs_an_existing_folder(root: Path) -> None:
    with pytest.raises(TrainingError, match="models: this is a folder; name a file"):
        check_output_file(Path("models"))
    with pytest.raises(TrainingError, match="the folder none does not exist; create it first"):
        check_output_file(Path("none/x.json"))
