"""A folder one or more levels off the one that holds NAME/VERSION is refused with the right folder's path."""

import shutil
from pathlib import Path

import pytest

from models.errors import BundleMissingFileError, BundlePathError
from models.repository import check_repository
from tests.tiny_bundle import write_tiny_bundle


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with the bundle tiny/1, two levels below the test's folder."""
    write_tiny_bundle(tmp_path / "store" / "models")
    return tmp_path / "store" / "models"


def refusal(folder: Path) -> str:
    with pytest.raises((BundlePathError, BundleMissingFileError)) as refused:
        check_repository(folder)
    return str(refused.value)


def test_the_right_folder_is_accepted_whatever_else_lies_in_it(root: Path, tmp_path: Path) -> None:
    check_repository(root)
    (root / "notes.txt").touch()
    (root / "UPPER").mkdir()
    shutil.copytree(root / "tiny" / "1", root / "2")  # a stray bundle beside a good one
    check_repository(root)
    (tmp_path / "link").symlink_to(root)
    check_repository(tmp_path / "link")


def test_an_empty_folder_is_accepted_since_bundles_may_come_later(tmp_path: Path) -> None:
    check_repository(tmp_path)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "tiny").mkdir()
    check_repository(tmp_path)
    (tmp_path / "tiny" / "1").mkdir()  # a bundle that is being copied
    check_repository(tmp_path)


def test_a_model_folder_and_a_version_folder_name_the_folder_above(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_level = f"is the folder of one model, with versions such as 1; give the folder one level up, {root}"
    assert refusal(root / "tiny") == f"{root / 'tiny'} {one_level}"
    two_levels = f"is a bundle itself; give the folder two levels up, {root}"
    assert refusal(root / "tiny" / "1") == f"{root / 'tiny' / '1'} {two_levels}"
    monkeypatch.chdir(root / "tiny")
    assert refusal(Path()) == f". {one_level}"
    assert refusal(Path("1")) == f"1 {two_levels}"
    monkeypatch.chdir(root / "tiny" / "1")
    assert refusal(Path()) == f". {two_levels}"
    assert refusal(Path("..")) == f".. {one_level}"


def test_a_folder_too_high_names_those_that_hold_bundles(root: Path, tmp_path: Path) -> None:
    sentence = "holds no bundle as NAME/VERSION, but folders in it do; give one of them: "
    assert refusal(root.parent) == f"{root.parent} {sentence}{root}"
    assert refusal(tmp_path) == f"{tmp_path} {sentence}{root}"
    write_tiny_bundle(root.parent / "canary")
    assert refusal(root.parent) == f"{root.parent} {sentence}{root.parent / 'canary'}, {root}"


def test_a_model_folder_that_is_a_link_is_told_by_the_place_of_the_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "tiny").symlink_to(root / "tiny")
    assert refusal(tmp_path / "linked" / "tiny").endswith(f"give the folder one level up, {tmp_path / 'linked'}")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert refusal(tmp_path).endswith(f"give one of them: {tmp_path / 'linked'}")  # the nearest, and a loop ends


@pytest.mark.parametrize("name", ["bundle.zip", "manifest.json"])
def test_a_file_is_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert refusal(tmp_path / name).endswith(" is a file; give a folder that holds bundles as NAME/VERSION, unpacked")
    assert refusal(tmp_path / "missing").startswith("there is no folder ")


def test_a_folder_of_pictures_and_one_that_cannot_be_read_are_looked_through_without_an_error(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"class {number}" / "more").mkdir(parents=True)
        (tmp_path / f"class {number}" / "more" / "1.png").touch()
    (tmp_path / "class 0").chmod(0)
    check_repository(tmp_path)
    (tmp_path / "class 0").chmod(0o700)
