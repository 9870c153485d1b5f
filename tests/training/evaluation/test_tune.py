"""`python -m training tune`: what it chooses, prints, writes and refuses."""

import dataclasses
import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import load_bundle
from models.tuning import Objective
from models.tuning import tune as tune_scores
from tests.tiny_bundle import TinyModel, write_tiny_bundle
from tests.training.data.tiny_pictures import TRUE_ALPHA, pictures, write_folder, write_zip
from training import __main__ as cli
from training.bundles.model_card import is_generated, model_card
from training.bundles.revise_bundle import revise_bundle
from training.data.files_to_choose_on import find_labelled_files
from training.errors import TrainingError
from training.evaluation import tune as tuning
from training.evaluation.graph_scores import score_files
from training.output_files import write_together

PICTURES = pictures(200)
MADE = {
    "recipe": "tiny", "network": "net", "head": "deconfounded", "epochs": 1, "seed": 0, "imbalance_ratio": 4.0,
    "precision": "float32", "training_seconds": 1, "hardware": "here", "weights": "last epoch", "mean_feature": "clean",
    "commit": "0", "date": "2026-11-24", "command": "python -m training train tiny", "onnx_torch_difference": 1e-6,
}  # fmt: skip


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "models")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zip(tmp_path_factory.mktemp("data") / "mine.zip", PICTURES)


def run(*words: str | Path) -> int:
    return cli.main(["tune", *map(str, words)])


def report(tmp_path: Path, *words: str | Path) -> dict[str, Any]:
    assert run(*words, "--json", tmp_path / "report.json") == 0
    written: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    return written


def contents(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_it_finds_the_alpha_the_labels_were_made_with(bundle: Path, archive: Path, tmp_path: Path) -> None:
    found = report(tmp_path, bundle, "--data", archive)
    low, high = found["interval"]
    assert low <= TRUE_ALPHA <= high
    assert found["alpha"] == pytest.approx((low + high) / 2)
    assert found["after"]["balanced"] == 1.0
    assert found["gain"]["balanced"] == pytest.approx(1.0 - found["before"]["balanced"])
    assert found["before"]["balanced"] < 0.7


def test_the_report_is_that_of_the_arithmetic_and_says_where_it_comes_from(
    bundle: Path, archive: Path, tmp_path: Path
) -> None:
    found = report(tmp_path, bundle, "--data", archive)
    loaded = load_bundle(bundle)
    scores, _ = score_files(loaded, find_labelled_files(archive, tuple(f"class {i}" for i in range(5)))[0])
    expected = tune_scores(scores, loaded.class_counts, Objective())
    assert {key: found[key] for key in expected} == json.loads(json.dumps(expected))
    assert {key: value for key, value in found.items() if key not in expected} == {
        "model": "tiny", "version": 1, "source": "archive", "data": "mine.zip",
        "unreadable": [], "unreadable_images": 0, "saved_as": None,
        "data_note": "all 200 pictures of mine.zip; the model must not have been trained on any",
    }  # fmt: skip


def test_a_folder_and_a_test_split_give_the_same_answer(bundle: Path, archive: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", PICTURES)
    wrong = {f"train/{name.replace('class 4', 'class 0')}": data for name, data in PICTURES.items()}
    split = write_folder(tmp_path / "split", wrong | {f"test/{name}": data for name, data in PICTURES.items()})
    alphas = {report(tmp_path, bundle, "--data", data)["alpha"] for data in (archive, folder, split)}
    assert len(alphas) == 1


def test_the_range_holds(bundle: Path, archive: Path, tmp_path: Path) -> None:
    found = report(tmp_path, bundle, "--data", archive, "--low", "0", "--high", "1")
    assert 0 <= found["alpha"] <= 1
    assert (found["curve"]["alphas"][0], found["curve"]["alphas"][-1]) == (0.0, 1.0)


def test_it_prints_figures_curve_and_expectation(
    bundle: Path, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(bundle, "--data", archive, "--constraint", "overall >= 30%", "--plot", tmp_path / "curve.svg") == 0
    printed = capsys.readouterr().out
    assert "best balanced and overall >= 0.3" in " ".join(printed.split())
    for part in (
        "before",
        "gain",
        "expect",
        "logit adj.",
        "100.00%",
        "● many",
        "the middle of the best interval",
        "Expected balanced: ",
    ):
        assert part in printed
    assert (tmp_path / "curve.svg").read_text().startswith("<?xml")


def test_classes_without_pictures_are_reported(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = {name: data for name, data in PICTURES.items() if name.startswith(("class 1", "class 4"))}
    found = report(tmp_path, bundle, "--data", write_zip(tmp_path / "some.zip", some))
    assert "3 of 5 classes have no images here and count in no figure: class 0, class 2, class 3" in " ".join(
        capsys.readouterr().out.split()
    )
    assert found["before"]["medium"] is None
    assert found["images"] == len(some)


def test_pictures_that_cannot_be_read_are_listed_and_left_out(
    bundle: Path, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {f"class 1/bad{index}.png": b"no picture" for index in range(20)}
    found = report(tmp_path, bundle, "--data", write_zip(tmp_path / "some.zip", PICTURES | broken))
    assert found["images"] == len(PICTURES)
    assert [picture["name"] for picture in found["unreadable"]] == sorted(broken)
    assert found["unreadable"][0]["error"]["code"] == "unreadable_image"
    assert found["alpha"] == report(tmp_path, bundle, "--data", archive)["alpha"]
    printed = capsys.readouterr().out
    assert "20 of 220 pictures cannot be read and are left out:\n  class 1/bad0.png: " in printed
    assert "and 10 more, all in the --json report" in printed


def test_too_many_unreadable_pictures_are_an_error(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {f"class 1/bad{index:03}.png": b"no picture" for index in range(30)}
    before = contents(bundle)
    data = write_zip(tmp_path / "some.zip", PICTURES | broken)
    assert run(bundle, "--data", data, "--save-as", "mine", "--json", tmp_path / "r.json") == 2
    assert "more than 10% of the 230 pictures cannot be read, such as class 1/bad000.png" in capsys.readouterr().err
    assert (contents(bundle), (tmp_path / "r.json").exists()) == (before, False)


def test_a_saved_point_says_how_it_was_chosen(bundle: Path, archive: Path, tmp_path: Path) -> None:
    found = report(
        tmp_path, bundle, "--data", archive, "--save-as", "night", "--constraint", "overall >= 0.3", "--low", "-1"
    )
    points = load_bundle(bundle).manifest.operating_points
    assert points["night"].alpha == found["alpha"]
    assert points["night"].chosen_by == (
        "best mean per-class recall, overall >= 0.3, alpha in -1..8, on the 200 images of mine.zip; middle of the best "
        "interval"
    )
    assert (found["saved_as"], list(points)[-1]) == ("night", "night")
    assert [entry.name for entry in bundle.parent.iterdir()] == ["1"]


def test_saving_under_an_existing_name_replaces_the_point_and_says_so(
    bundle: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(bundle, "--data", archive, "--save-as", "tail") == 0
    assert ", replacing 2 (for tests: 2.0)" in capsys.readouterr().out
    first = load_bundle(bundle).manifest
    assert run(bundle, "--data", archive, "--save-as", "tail", "--objective", "overall", "--high", "1") == 0
    assert f"replacing {first.operating_points['tail'].alpha:.4g} (best mean per-class" in capsys.readouterr().out
    second = load_bundle(bundle).manifest
    assert list(second.operating_points) == list(first.operating_points)
    assert second.operating_points["tail"].chosen_by.startswith("best accuracy, alpha in -8..1, on")


def with_generated_card(root: Path) -> Path:
    model = TinyModel()
    manifest = dataclasses.replace(model.manifest("carded"), provenance=MADE)
    return model.write(root, manifest, readme=model_card(manifest), extra_files={"curve.svg": b"<svg/>"})


def test_the_generated_card_lists_the_point(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = with_generated_card(tmp_path / "models")
    data = write_zip(tmp_path / "a|b.zip", PICTURES)
    assert run(bundle, "--data", data, "--save-as", "night") == 0
    assert "its card lists it" in capsys.readouterr().out
    card = (bundle / "README.md").read_text()
    assert "| `night` | 1." in card
    assert "images of a\\|b.zip" in card
    assert is_generated(card.encode(), load_bundle(bundle).manifest)


def test_a_card_written_by_hand_is_left_alone(bundle: Path, archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (bundle / "README.md").read_bytes()
    assert run(bundle, "--data", archive, "--save-as", "night") == 0
    assert "its card was edited by hand and is left unchanged" in capsys.readouterr().out
    assert (bundle / "README.md").read_bytes() == before


@pytest.mark.parametrize("name", ["head", "Night", "1.5", "nan", "", "a/b", "-x", "x" * 65])
def test_an_invalid_name_is_refused_before_any_work(
    bundle: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(bundle)
    assert run(bundle, "--data", "nowhere.zip", f"--save-as={name}") == 2
    assert "error: --save-as" in capsys.readouterr().err
    assert contents(bundle) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--constraint", "overall >= 1", "--low", "0", "--high", "0.5"],
            "no alpha in 0..0.5 gives overall >= 1; alone",
        ),
        (["--objective", "best"], "unknown objective 'best'; objectives are overall, balanced"),
        (["--constraint", "few > 3"], "constraint 'few > 3': write FIGURE >= VALUE"),
        (["--constraint", "few >= nan"], "write FIGURE >= VALUE"),
        (["--low", "nan"], "the lower one first"),
        (["--low", "2", "--high", "1"], "the lower one first"),
        (["--data", "nowhere.zip"], "nowhere.zip: no such file or folder"),
        (["--plot", "curve.gif"], "must end in .svg, .png or .pdf"),
        (["--json", "nowhere/r.json"], "the folder nowhere does not exist"),
        (["--json", "."], "this is a folder; name a file"),
    ],
)
def test_a_usage_error_gives_a_message_and_nothing_is_written(
    bundle: Path, archive: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(bundle.parent)
    assert run(bundle, "--data", archive, "--save-as", "mine", *arguments) == 2
    assert message in capsys.readouterr().err
    assert contents(bundle.parent) == before


def test_an_objective_for_a_group_without_pictures_is_refused_before_scoring(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_zip(tmp_path / "some.zip", {name: data for name, data in PICTURES.items() if "class 1" in name})
    monkeypatch.setattr(tuning, "score_files", None)
    assert run(bundle, "--data", data, "--constraint", "few >= 0.1") == 2
    assert "there is no labelled image of a few-shot class" in capsys.readouterr().err
    exempt = write_tiny_bundle(tmp_path, exempt_class=1)
    assert run(exempt, "--data", data) == 2
    assert "choosing alpha with an exempt class is not supported" in capsys.readouterr().err


def test_if_the_bundle_cannot_be_written_no_other_file_is_written(
    bundle: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(bundle)
    (tmp_path / "r.json").write_text("mine")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run(bundle, "--data", archive, "--save-as", "mine", "--json", tmp_path / "r.json") == 2
    assert "could not be replaced" in capsys.readouterr().err
    assert (contents(bundle), (tmp_path / "r.json").read_text()) == (before, "mine")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["models", "r.json"]


def test_a_point_saved_through_a_link_says_which_folder_has_changed(
    bundle: Path, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deployed" / "tiny").mkdir(parents=True)
    link = tmp_path / "deployed" / "tiny" / "1"
    link.symlink_to(bundle.rename(tmp_path / "release"))
    assert run(link, "--data", archive, "--save-as", "mine") == 0
    assert f"saved as mine in {link} (linked to {tmp_path}/release): alpha " in capsys.readouterr().out
    assert "mine" in load_bundle(link).manifest.operating_points
    assert link.readlink() == tmp_path / "release"


def test_a_network_replaced_during_scoring_does_not_get_the_others_alpha(bundle: Path) -> None:
    scored = load_bundle(bundle)
    other = dataclasses.replace(scored.manifest, sha256=scored.manifest.sha256 | {"model.onnx": "0" * 64})
    with pytest.raises(TrainingError, match="the network was replaced while it was being scored"):
        revise_bundle(dataclasses.replace(scored, manifest=other), lambda manifest: manifest)


def test_what_is_no_plain_file_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with write_together({tmp_path / "link": b"one", tmp_path / "plain": b"two"}):
        assert not (tmp_path / "plain").exists()
    assert ((tmp_path / "target").read_bytes(), (tmp_path / "plain").read_bytes()) == (b"one", b"two")
    assert (tmp_path / "link").is_symlink()


def test_a_batch_of_broken_pictures_only_is_skipped(bundle: Path, tmp_path: Path) -> None:
    many = {f"class 0/{index:04}.png": PICTURES[sorted(PICTURES)[0]] for index in range(800)}
    broken = {f"class 0/a{index:04}.png": b"" for index in range(80)}
    files, _ = find_labelled_files(write_zip(tmp_path / "x.zip", many | broken), tuple(f"class {i}" for i in range(5)))
    scores, unreadable = score_files(load_bundle(bundle), files)
    assert (len(scores), len(unreadable)) == (800, 80)
    assert np.ptp(scores.logits, axis=0).max() < 1e-5  # float32: the same picture, in batches of different sizes
