"""Bundles that are good: what is saved is what is loaded, all of it or nothing."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from models.bundle import Bundle, load_bundle
from models.errors import (
    BundleError,
    BundleExistsError,
    BundleMissingFileError,
    BundlePathError,
    BundleShapeError,
    ManifestError,
)
from models.repository import find_bundles
from tests.tiny_bundle import TinyModel, write_tiny_bundle


def tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    model = TinyModel(seed=3)
    manifest = model.manifest("tiny", 7)
    bundle = load_bundle(model.write(tmp_path, manifest, extra_files={"curve.svg": b"<svg/>"}))
    assert dataclasses.replace(bundle.manifest, sha256={}) == manifest
    assert set(bundle.manifest.sha256) == {"model.onnx", "head.safetensors", "README.md", "curve.svg"}
    np.testing.assert_array_equal(bundle.class_effect, model.class_effect)
    np.testing.assert_array_equal(bundle.mean_feature, model.mean_feature)
    np.testing.assert_array_equal(bundle.class_counts, model.counts)
    assert [a.dtype for a in (bundle.class_effect, bundle.mean_feature, bundle.class_counts)] == ["f4", "f4", "i8"]


def test_the_tiny_graph_computes_what_the_arithmetic_says(tiny_bundle: Bundle) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    images[0] = 0  # no features at all
    session = onnxruntime.InferenceSession(str(tiny_bundle.model_path), providers=["CPUExecutionProvider"])
    logits, cosine = session.run(["logits", "head_cosine"], {"images": images})
    np.testing.assert_allclose(logits, TinyModel().logits(images), atol=1e-5)  # float32, up to 16
    np.testing.assert_allclose(cosine, TinyModel().head_cosine(images), atol=1e-6)


def test_a_bundle_found_by_a_relative_path_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tiny_bundle(tmp_path)
    monkeypatch.chdir(path)
    assert load_bundle(Path()).path == path


def test_the_arrays_cannot_be_changed(tiny_bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="read-only"):
        tiny_bundle.class_effect[0, 0] = 1.0


def test_saving_leaves_the_bundle_and_nothing_else(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "new" / "root")
    files = ["README.md", "head.safetensors", "manifest.json", "model.onnx"]
    folders = ["new", "new/root", "new/root/tiny", "new/root/tiny/1"]
    assert tree(tmp_path) == folders + [f"new/root/tiny/1/{name}" for name in files]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"model_onnx": b"not a graph"}, BundleError),
        ({"class_effect": np.zeros((2, 4))}, BundleShapeError),
        ({"extra_files": {"../escaped.txt": b""}}, ManifestError),
        ({"extra_files": {"a/b": b""}}, ManifestError),
        ({"extra_files": {"manifest.json": b"{}"}}, ManifestError),
        ({"extra_files": {"model.onnx": b""}}, BundlePathError),
    ],
)
def test_a_failed_save_leaves_nothing_behind(tmp_path: Path, changes: dict[str, Any], error: type[Exception]) -> None:
    model = TinyModel()
    with pytest.raises(error):
        model.write(tmp_path / "root", model.manifest(), **changes)
    assert tree(tmp_path) == []


def test_a_save_that_is_cut_short_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_tiny_bundle(tmp_path)
    assert tree(tmp_path) == []


def test_dots_in_a_path_lead_where_they_say(tmp_path: Path) -> None:
    model = TinyModel()
    (tmp_path / "tiny").mkdir()
    bundle = model.write(tmp_path / "tiny" / "..", model.manifest())
    assert (bundle, tree(tmp_path)[:2]) == (tmp_path / "tiny" / "1", ["tiny", "tiny/1"])


def test_a_bundle_is_never_overwritten(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path)
    before = {file: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(BundleExistsError, match="already exists; delete it, or choose another version"):
        write_tiny_bundle(tmp_path, seed=1)
    assert {file: file.read_bytes() for file in path.iterdir()} == before


def test_a_folder_named_otherwise_than_its_manifest_is_not_saved(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path)
    other = path.rename(tmp_path / "tiny" / "2")
    with pytest.raises(BundlePathError, match=r"bundle tiny/2: manifest.json says it is tiny/1"):
        load_bundle(other)


def test_hidden_files_beside_a_bundle_are_nobodys_business(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path)
    (path / ".DS_Store").write_bytes(b"\0")
    assert load_bundle(path).manifest.name == "tiny"


def test_bundles_are_found_by_name_and_number(tmp_path: Path) -> None:
    for name, version in (("b", "10"), ("b", "9"), ("a.x", "1")):
        (tmp_path / name / version).mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "b" / ".cache").mkdir()
    (tmp_path / "notes.txt").write_text("ignored")
    assert [str(path.relative_to(tmp_path)) for path in find_bundles(tmp_path)] == ["a.x/1", "b/9", "b/10"]


def test_an_empty_root_holds_no_bundles(tmp_path: Path) -> None:
    assert find_bundles(tmp_path) == []


def test_a_root_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleMissingFileError, match=r"there is no folder .*/nowhere; give one that holds bundles"):
        find_bundles(tmp_path / "nowhere")


@pytest.mark.parametrize("folder", ["tiny/latest", "tiny/01", "tiny/0", "tiny/-1", "tiny/٣", "Tiny/1", "tiny"])
def test_a_folder_that_is_no_version_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(BundlePathError, match="bundles lie as NAME/VERSION, a version is 1, 2, 3"):
        find_bundles(tmp_path)


def test_a_bundle_is_no_root(tmp_path: Path) -> None:
    with pytest.raises(BundlePathError, match="is a bundle itself; give the folder two levels up"):
        find_bundles(write_tiny_bundle(tmp_path))
