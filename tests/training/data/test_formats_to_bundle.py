"""The command line from a data set of each format to a bundle and its metrics."""

import argparse
import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import load_bundle
from models.manifest import Manifest
from tests.training.conftest import COLOURS, image
from training import __main__ as cli
from training.data.options import DataOptions, add_data_arguments, changed_options, data_options, given_options
from training.evaluation.evaluate import same_figures
from training.evaluation.tuning_pictures import pictures_to_tune_on
from training.recipe.recipe import Recipe

PICTURES = 36  # of each of three colours, from nine cameras
CORRUPT = 5


@pytest.fixture
def run(tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a command in a folder of pictures `p0.webp`..., one of them corrupt, with the tiny recipe."""
    names = sorted(COLOURS)
    for i in range(3 * PICTURES):
        content = b"no picture" if i == CORRUPT else image(COLOURS[names[i % 3]], i)
        (tmp_path / f"p{i}.webp").write_bytes(content)
    monkeypatch.setattr(
        "training.cli.train_command.load_recipe", lambda _: replace(recipe, epochs=1, imbalance_ratio=None)
    )
    monkeypatch.chdir(tmp_path)
    return lambda command: cli.main(shlex.split(command))


def label(i: int) -> str:
    return sorted(COLOURS)[i % 3]


def text_list(root: Path) -> str:
    rows = [f"p{i}.webp {i % 3}\n" for i in range(3 * PICTURES)]
    (root / "train.txt").write_text("".join(rows[:81]))
    (root / "test.txt").write_text("".join(rows[81:]))
    (root / "names.txt").write_text("\n".join(sorted(COLOURS)))
    return "--data train.txt --test test.txt --class-names names.txt"


def csv_table(root: Path) -> str:
    rows = [f"p{i}.webp,{label(i)},cam{i // 3 % 9}\n" for i in range(3 * PICTURES)]
    (root / "all.csv").write_text("file,label,location\n" + "".join(rows))
    return "--data all.csv --group-column location"


def one_hot(root: Path) -> str:
    rows = [f"p{i},{','.join(str(float(i % 3 == k)) for k in range(3))}\n" for i in range(3 * PICTURES)]
    (root / "all.csv").write_text(f"image,{','.join(sorted(COLOURS))}\n" + "".join(rows))
    return "--data all.csv --test-share 0.3 --split-seed 4"


def coco(root: Path) -> str:
    tree = {
        "images": [{"id": i, "file_name": f"p{i}.webp", "location": i // 3 % 9} for i in range(3 * PICTURES)],
        "annotations": [{"image_id": i, "category_id": 10 * (i % 3)} for i in range(3 * PICTURES)],
        "categories": [{"id": 10 * k, "name": name} for k, name in enumerate(sorted(COLOURS))],
    }
    (root / "all.json").write_text(json.dumps(tree))
    return "--data all.json --group-column location"


def folders(root: Path) -> str:
    for i in range(3 * PICTURES):
        (root / "mine" / label(i)).mkdir(parents=True, exist_ok=True)
        (root / f"p{i}.webp").rename(root / "mine" / label(i) / f"p{i}.webp")
    return "--data mine"


def data_options_of(arguments: str) -> DataOptions:
    parser = argparse.ArgumentParser()
    add_data_arguments(parser)
    return data_options(parser.parse_args(shlex.split(arguments)))


def manifest(root: Path) -> Manifest:
    return load_bundle(root / "models" / "tiny" / "1").manifest


@pytest.mark.parametrize("made", [text_list, csv_table, one_hot, coco, folders])
def test_every_format_becomes_a_bundle_whose_metrics_can_be_reproduced(
    tmp_path: Path, run: Callable[..., int], made: Callable[[Path], str], capsys: pytest.CaptureFixture[str]
) -> None:
    data = made(tmp_path) + " --exempt-class green --max-unreadable 0.05"
    assert run(f"train tiny {data} --device cpu --precision float32 --out run") == 0
    assert run("export run --out models/tiny") == 0
    written = manifest(tmp_path)
    assert [info.name for info in written.classes] == sorted(COLOURS)
    assert written.classes[written.exempt_class or 0].name == "green"
    assert sum(written.provenance["unreadable_images"].values()) == 1
    counted = sum(info.training_count for info in written.classes) + written.metrics["images"]
    assert counted == 3 * PICTURES - 1
    for name in ("balanced", "tail"):
        assert "among the classes other than 'green', which is exempt" in written.operating_points[name].chosen_by
    files, _ = pictures_to_tune_on(data_options_of(written.metrics["arguments"]), written)
    assert written.metrics["images"] == len(files) - written.provenance["unreadable_images"]["test"]
    assert run(f"evaluate models/tiny/1 {written.metrics['arguments']} --json report.json") == 0
    report = json.loads(Path("report.json").read_text())
    assert same_figures(report["protocol"], written.metrics["protocol"])
    captured = capsys.readouterr()
    assert ", unreadable: " in captured.err
    assert f"p{CORRUPT}" in captured.err
    card = (tmp_path / "models/tiny/1/README.md").read_text()
    assert "The class `green` is exempt" in card
    assert f"evaluate models/tiny/1 {written.metrics['arguments']}" in card


def test_another_test_part_than_the_one_split_off_for_training_is_refused(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    data = folders(tmp_path) + " --max-unreadable 0.05"
    assert run(f"train tiny {data} --device cpu --precision float32 --out run") == 0
    assert run("export run --out models/tiny --split-seed 1") == 2
    assert "differs from the one split off for training" in capsys.readouterr().err
    for i in range(12):
        Path(f"mine/red/new{i}.webp").write_bytes(image(COLOURS["red"], 999 + i))
    assert run("export run --out models/tiny") == 2
    assert "differs from the one split off for training" in capsys.readouterr().err
    assert run(f"train tiny {data} --device cpu --precision float32 --out run --resume") == 2
    assert "not the pictures that the run was started with" in capsys.readouterr().err
    for new in Path("mine/red").glob("new*"):
        new.unlink()
    Path("mine").rename("moved")
    assert run("export run --out models/tiny") == 2
    assert "mine: no such file or folder" in capsys.readouterr().err
    assert run("export run --out models/tiny --data moved --max-unreadable 0.05") == 0
    assert run("evaluate models/tiny/1 --data moved --max-unreadable 0.05 --test-share 0.5") == 2
    assert "name a set of only test pictures with --test" in capsys.readouterr().err
    assert run("evaluate models/tiny/1 --test moved --max-unreadable 0.05 --json report.json") == 0
    assert json.loads(Path("report.json").read_text())["images"] == 3 * PICTURES - 1


def test_a_run_resumes_however_the_path_of_its_data_is_written(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders(tmp_path)
    Path("link").symlink_to("mine")
    monkeypatch.chdir("mine")
    train = "train tiny --max-unreadable 0.05 --device cpu --precision float32 --out ../run"
    assert run(f"{train} --data .") == 0
    for same in (".", "../link", str(tmp_path / "mine"), "red/.."):
        assert run(f"{train} --data {same} --resume") == 0, capsys.readouterr().err
    assert run("export ../run --out ../models/tiny") == 0
    written = manifest(tmp_path)
    assert written.metrics["arguments"] == "--data mine --max-unreadable 0.05"
    assert written.provenance["data"] == "mine, train split"
    assert run(f"{train} --data ../link --test-share 0.3 --resume") == 2
    assert "started with --test-share 0.2; --resume needs" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    assert run(f"{train} --data ../other --split-seed 1 --resume") == 2
    sentence = f"started with --data {tmp_path / 'mine'}; --split-seed 0; --resume needs"
    assert sentence in capsys.readouterr().err


def test_an_option_given_with_its_default_value_counts_as_given() -> None:
    parser = argparse.ArgumentParser()
    add_data_arguments(parser, data_required=False)
    before = DataOptions(data=Path("mine"), max_unreadable=0.1, test_share=0.3, seed=5)
    assert changed_options(before, given_options(parser.parse_args([]))) == before
    given = given_options(parser.parse_args(["--max-unreadable", "0", "--test-share", "0.2", "--split-seed", "0"]))
    assert changed_options(before, given) == DataOptions(data=Path("mine"))


def test_a_run_on_a_symbolic_link_keeps_its_name(tmp_path: Path, run: Callable[..., int]) -> None:
    folders(tmp_path)
    Path("link").symlink_to("mine")
    train = "train tiny --data link --max-unreadable 0.05 --device cpu --precision float32 --out run"
    assert run(train) == 0
    assert run(f"{train} --resume") == 0
    assert run("export run --out models/tiny") == 0
    assert manifest(tmp_path).metrics["arguments"].startswith("--data link ")


def test_a_class_without_test_pictures_is_not_scored(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"p{i}.webp {label(i)}\n" for i in range(3 * PICTURES) if i != CORRUPT]
    (tmp_path / "train.txt").write_text("".join(rows[:81]))
    (tmp_path / "test.txt").write_text("".join(row for row in rows[81:] if "red" not in row))
    assert run("train tiny --data train.txt --test test.txt --device cpu --precision float32 --out run") == 0
    assert "1 of 3 classes have no test pictures and are not scored: red" in capsys.readouterr().out
    assert run("export run --out models/tiny") == 0
    metrics = manifest(tmp_path).metrics
    assert "1 of 3 classes have no images here and count in no figure: red" in metrics["note"]
    assert metrics["protocol"]["zero"]["per_class_recall"][2] is None
    assert "calibration" not in metrics
    recalls = [value for value in metrics["protocol"]["zero"]["per_class_recall"] if value is not None]
    assert metrics["protocol"]["zero"]["balanced"] == pytest.approx(np.mean(recalls))
    assert run("evaluate models/tiny/1 --test test.txt --save") == 0
    assert "no images here and count in no figure: red" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("", "p5.webp: these bytes are not an image"),
        ("--max-unreadable 2", "--max-unreadable 2 must be from 0 to below 1"),
        ("--test-share 1", "--test-share 1 must be between 0 and 1"),
        ("--max-unreadable 0.1 --imbalance-ratio 10", "a list has no rank order; add --imbalance-ratio none"),
        ("--exempt-class pink", "--exempt-class 'pink': no such class; the classes are blue, green, red"),
        ("--images nowhere", "nowhere: no such file or folder"),
        ("--group-column site", "no column 'site' (--group-column)"),
    ],
)
def test_user_errors_have_a_message(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str], more: str, sentence: str
) -> None:
    data = csv_table(tmp_path) if "--group" not in more else csv_table(tmp_path).split(" --group")[0]
    assert run(f"train tiny {data} {more} --device cpu --out run") == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
