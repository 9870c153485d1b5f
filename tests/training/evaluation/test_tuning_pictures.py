"""The pictures that `tune` uses: the part kept from training, or other pictures, but never training pictures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.bundle import load_bundle
from models.manifest import ClassInfo, Manifest, group_of
from models.update import Revision, update_bundle
from tests.tiny_bundle import write_tiny_bundle
from tests.training.data.tiny_pictures import pictures, write_folder, write_zip
from training import __main__ as cli
from training.data.data_set import fingerprint, open_splits
from training.data.options import DataOptions
from training.errors import DataError
from training.evaluation.tuning_pictures import pictures_to_tune_on

PICTURES = pictures(200)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", PICTURES)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "models")


def trained_on(bundle: Path, options: DataOptions, *, name: str = "photos", **provenance: Any) -> Manifest:
    """Make the bundle's provenance say that it was trained on these data."""
    splits = open_splits(options)
    made = {
        "data": f"{name}, train split",
        "test_fingerprint": fingerprint(splits.test),
        "test_split": options.split_settings if splits.is_split_off else None,
    } | provenance
    counts = dict(zip(splits.train.classes, splits.train.class_counts.tolist(), strict=True))
    assert len(counts) == 5
    update_bundle(bundle, lambda now: Revision(replace(now.manifest, provenance=made)))
    manifest = load_bundle(bundle).manifest
    classes = tuple(ClassInfo(info.name, counts[info.name], group_of(counts[info.name])) for info in manifest.classes)
    return replace(manifest, classes=classes)  # the tiny bundle's own counts belong to no pictures


def taken(manifest: Manifest, data: Path, **options: Any) -> tuple[set[str], str]:
    files, note = pictures_to_tune_on(DataOptions(data=data, **options), manifest)
    return set(files.names), note


def csv(root: Path, *, split: str = "") -> Path:
    rows = [f"{name},{name.split('/')[0]},cam{i // 4}{split and f',{split}'}" for i, name in enumerate(PICTURES)]
    head = "file,label,location" + (",split" if split else "")
    (root / "all.csv").write_text("\n".join([head, *rows]))
    return root / "all.csv"


@pytest.mark.parametrize("split", [{}, {"test_share": 0.3, "seed": 4}])
def test_of_the_training_data_only_the_kept_part_is_used(bundle: Path, photos: Path, split: dict[str, Any]) -> None:
    options = DataOptions(data=photos, **split)
    manifest = trained_on(bundle, options)
    kept = set(open_splits(options).test.names)
    names, note = taken(manifest, photos.rename(photos.with_name("moved")))
    assert names == kept
    assert f"of moved, split off with seed {split.get('seed', 0)}" in note


def test_the_kept_part_is_scored_and_the_report_says_so(
    bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = DataOptions(data=photos)
    trained_on(bundle, options)
    assert cli.main(["tune", str(bundle), "--data", str(photos), "--json", str(tmp_path / "r.json")]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["images"] == len(open_splits(options).test) < len(PICTURES) / 2
    assert report["data"] == "photos, test part split off with seed 0"
    assert report["data_note"] == "test part: 0.2 of each class of photos, split off with seed 0"
    assert report["data_note"] in capsys.readouterr().out


def test_a_list_is_read_and_its_groups_are_those_of_the_training(bundle: Path, photos: Path) -> None:
    options = DataOptions(data=csv(photos), group_column="location", seed=2)
    manifest = trained_on(bundle, options, name="all.csv")
    names, note = taken(manifest, photos / "all.csv")
    assert names == set(open_splits(options).test.names)
    assert "in whole groups of location of all.csv, split off with seed 2" in note


@pytest.mark.parametrize("options", [{"test_share": 0.5}, {"seed": 1}])
def test_options_that_split_differently_are_refused(bundle: Path, photos: Path, options: dict[str, Any]) -> None:
    manifest = trained_on(bundle, DataOptions(data=photos, test_share=0.25))
    with pytest.raises(DataError, match=r"these options split off another part than the one kept .* or name pictures"):
        taken(manifest, photos, **options)


def test_an_option_given_with_its_default_value_counts_as_given(bundle: Path, photos: Path) -> None:
    manifest = trained_on(bundle, DataOptions(data=photos, test_share=0.25))
    with pytest.raises(DataError, match="these options split off another part than the one kept"):
        pictures_to_tune_on(DataOptions(data=photos), manifest, {"data", "test_share"})


def test_changed_training_data_are_refused(bundle: Path, photos: Path, tmp_path: Path) -> None:
    manifest = trained_on(bundle, DataOptions(data=photos))
    zipped = write_zip(tmp_path / "photos.zip", {f"wrapped/{name}": data for name, data in PICTURES.items()})
    write_folder(photos, {"class 1/new.png": b""})
    for data in (photos, zipped):
        with pytest.raises(DataError, match="the model was trained on data of this name, but the part kept"):
            taken(manifest, data)
        assert len(taken(manifest, data, test=data)[0]) in {200, 201}  # --test: all of them


def test_data_with_the_class_counts_of_the_training_are_refused(bundle: Path, photos: Path, tmp_path: Path) -> None:
    manifest = trained_on(bundle, DataOptions(data=photos))
    trained = open_splits(DataOptions(data=photos)).train.names
    wrapped = write_folder(tmp_path / "a", {f"deep/er/{name}": data for name, data in PICTURES.items()})
    only = write_folder(tmp_path / "b", {name: PICTURES[name] for name in trained})
    for data in (wrapped, only):
        with pytest.raises(DataError, match="as many pictures of every class as the model's training data"):
            taken(manifest, data)


def test_a_train_folder_is_refused_and_the_test_or_val_folder_beside_it_is_used(bundle: Path, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", {f"train/{name}": data for name, data in PICTURES.items()})
    manifest = load_bundle(bundle).manifest
    with pytest.raises(DataError, match=r"all pictures lie in a train folder, .* alpha must not be chosen"):
        taken(manifest, root)
    with pytest.raises(DataError, match="give the class folders without the train folder"):
        taken(manifest, root, test=root)
    assert len(taken(manifest, root, test=root / "train")[0]) == len(PICTURES)
    with pytest.raises(DataError, match="its name is that of a train split"):
        taken(manifest, root / "train")
    for split, name in (("val", "valid"), ("test", "testing")):
        write_folder(root, {f"{name}/class 1/{split}.png": b""})
        names, note = taken(manifest, root)
        assert names == {f"{name}/class 1/{split}.png"}
        assert note.startswith(f"test part: the {split} split of set; its train split (200 pictures) is not used")
    assert "its val split (1 picture) is not used" in note


def test_other_data_are_used_whole_even_if_classes_are_missing(bundle: Path, photos: Path, tmp_path: Path) -> None:
    manifest = trained_on(bundle, DataOptions(data=photos))
    other = write_folder(tmp_path / "new", {"2026/class 3/a.png": b"", "class 1/b.png": b""})
    names, note = taken(manifest, other)
    assert names == {"2026/class 3/a.png", "class 1/b.png"}
    assert note == (
        "all 2 pictures of new; the model must not have been trained on any; taken together from 2 folders: the top "
        "folder (1), 2026 (1)"
    )
    listed = tmp_path / "new.txt"
    listed.write_text("new/class 1/b.png\tclass 1\n")
    assert taken(manifest, listed)[0] == {"new/class 1/b.png"}


@pytest.mark.parametrize("split", ["test", "val"])
def test_of_a_list_with_splits_only_test_or_val_is_used(bundle: Path, photos: Path, split: str) -> None:
    table = csv(photos, split="train")
    table.write_text(table.read_text() + f"\nnew.png,class 2,cam,{split}")
    files, note = pictures_to_tune_on(DataOptions(data=table), load_bundle(bundle).manifest)
    assert (files.names, files.source) == (("new.png",), f"all.csv, {split} split")
    assert f"test part: the {split} split of all.csv" in note


def test_a_list_of_trained_pictures_is_refused(bundle: Path, photos: Path) -> None:
    table = csv(photos, split="train")
    with pytest.raises(DataError, match="only a train part; name a file or folder of test pictures with --test"):
        taken(load_bundle(bundle).manifest, table)


@pytest.mark.parametrize("split", [[1], {}, {"test_share": 7.0, "seed": 0}, {"test_share": "x", "seed": None}])
def test_an_invalid_split_in_the_provenance_is_ignored(bundle: Path, photos: Path, split: Any) -> None:
    options = DataOptions(data=photos)
    manifest = trained_on(bundle, options, test_split=split)
    assert taken(manifest, photos)[0] == set(open_splits(options).test.names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "name them with --data or --test"),
        ("--data DATA --label-column x", "--label-column does not apply to class folders"),
        ("--data DATA --exempt-class x", "the exempt class of this bundle is 'none'"),
        ("--data DATA --max-unreadable 0", "more than 0% of the 201 pictures cannot be read, such as class 0/bad.png"),
    ],
)
def test_a_usage_error_gives_a_message(
    bundle: Path, photos: Path, arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(photos, {"class 0/bad.png": b""})
    assert (
        cli.main(["tune", str(bundle), *[str(photos) if word == "DATA" else word for word in arguments.split()]]) == 2
    )
    assert message in capsys.readouterr().err


def test_a_list_is_tuned_on_from_the_command_line(bundle: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "mine.lst").write_text(
        "".join(f"{name}\t{name.split('/')[0]}\n" for name in [*PICTURES, "class 0/no.png"])
    )
    words = ["tune", str(bundle), "--data", str(photos / "mine.lst"), "--json", str(tmp_path / "r.json")]
    assert cli.main(words) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["images"], report["unreadable_images"], report["data"]) == (200, 1, "mine.lst")
    assert report["after"]["balanced"] == 1.0
