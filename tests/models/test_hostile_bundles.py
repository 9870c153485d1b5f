"""A loader refuses, with a sentence, whatever it cannot vouch for. Each test breaks one thing of a good bundle.

Where the checksums themselves are not the point, `replace` writes them anew, as a careful attacker would.
"""

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from models import errors
from models.bundle import load_bundle
from tests.tiny_bundle import TinyModel, write_tiny_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path)


def replace(folder: Path, name: str, content: bytes) -> None:
    """Change a file and have the manifest vouch for the change."""
    (folder / name).write_bytes(content)
    change_manifest(folder, sha256=read_manifest(folder)["sha256"] | {name: hashlib.sha256(content).hexdigest()})


def read_manifest(folder: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return tree


def change_manifest(folder: Path, **changes: Any) -> None:
    (folder / "manifest.json").write_text(json.dumps(read_manifest(folder) | changes))


def replace_tensors(folder: Path, **changes: Any) -> None:
    tensors = safetensors.numpy.load((folder / "head.safetensors").read_bytes()) | changes
    replace(folder, "head.safetensors", safetensors.numpy.save({k: v for k, v in tensors.items() if v is not None}))


def refusal(folder: Path, error: type[errors.BundleError]) -> str:
    with pytest.raises(error) as caught:
        load_bundle(folder)
    assert type(caught.value) is error
    return str(caught.value)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "head.safetensors", "README.md"])
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert refusal(folder, errors.BundleMissingFileError) == f"bundle tiny/1: {name} is missing"


def test_a_missing_folder(tmp_path: Path) -> None:
    sentence = refusal(tmp_path / "tiny" / "1", errors.BundleMissingFileError)
    assert sentence == f"bundle tiny/1: there is no folder {tmp_path}/tiny/1"


@pytest.mark.parametrize("name", ["model.onnx", "head.safetensors", "README.md"])
def test_a_wrong_checksum(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    sentence = refusal(folder, errors.BundleChecksumError)
    assert sentence == f"bundle tiny/1: {name} is not the file that was saved: its sha256 differs from manifest.json's"


def test_a_file_without_a_checksum(folder: Path) -> None:
    checksums = read_manifest(folder)["sha256"]
    change_manifest(folder, sha256={"README.md": checksums["README.md"]})
    sentence = refusal(folder, errors.BundleChecksumError)
    assert sentence == "bundle tiny/1: manifest.json lists no sha256 for model.onnx, head.safetensors"


def test_a_file_nobody_vouches_for(folder: Path) -> None:
    (folder / "weights.pkl").write_bytes(b"cos\nsystem\n")
    sentence = refusal(folder, errors.BundleChecksumError)
    assert sentence == "bundle tiny/1: weights.pkl is not listed in manifest.json; remove it"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"class_effect": np.zeros((2, 4), np.float32)},
            "class_effect is [2, 4] but the manifest has 2 heads and 5 classes; they come from different runs",
        ),
        ({"class_effect": np.zeros((5, 2), np.float32)}, "class_effect is [5, 2] but the manifest has 2 heads and 5"),
        ({"mean_feature": np.zeros((7,), np.float32)}, "mean_feature is [7], which 2 heads cannot share equally"),
        ({"mean_feature": np.zeros((2, 4), np.float32)}, "mean_feature is [2, 4], which 2 heads cannot share equally"),
        ({"mean_feature": np.zeros((0,), np.float32)}, "mean_feature is [0], which 2 heads cannot share equally"),
        ({"class_counts": np.zeros((6,), np.int64)}, "class_counts is [6] but the manifest has 5 classes"),
        ({"class_counts": np.array(3)}, "class_counts is [] but the manifest has 5 classes"),
    ],
)
def test_shapes_that_disagree(folder: Path, changes: dict[str, Any], sentence: str) -> None:
    replace_tensors(folder, **changes)
    assert sentence in refusal(folder, errors.BundleShapeError)


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({"mean_feature": None}, "class_counts I64, class_effect F32"),
        ({"extra": np.zeros(1, np.float32)}, "class_counts I64, class_effect F32, extra F32, mean_feature F32"),
        ({"class_effect": np.zeros((2, 5), np.float16)}, "class_counts I64, class_effect F16, mean_feature F32"),
        ({"class_counts": np.zeros(5, np.float32)}, "class_counts F32, class_effect F32, mean_feature F32"),
    ],
)
def test_tensors_that_are_not_the_formats(folder: Path, changes: dict[str, Any], held: str) -> None:
    replace_tensors(folder, **changes)
    sentence = refusal(folder, errors.BundleShapeError)
    assert sentence == (
        f"bundle tiny/1: head.safetensors holds {held}; "
        "the format wants class_counts I64, class_effect F32, mean_feature F32"
    )


@pytest.mark.parametrize("name", ["class_effect", "mean_feature"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity(folder: Path, name: str, value: float) -> None:
    tensor = np.zeros((2, 5) if name == "class_effect" else 8, np.float32)
    tensor.flat[3] = value
    replace_tensors(folder, **{name: tensor})
    assert refusal(folder, errors.BundleValueError) == f"bundle tiny/1: {name} holds NaN or infinity"


def test_counts_the_manifest_contradicts(folder: Path) -> None:
    replace_tensors(folder, class_counts=TinyModel().counts + 1)
    sentence = refusal(folder, errors.BundleValueError)
    assert sentence == "bundle tiny/1: class_counts[0] is 501 but the manifest gives 'class 0' 500 images"


@pytest.mark.parametrize("kept", [4, 6])
def test_a_class_table_of_the_wrong_length(folder: Path, kept: int) -> None:
    classes = read_manifest(folder)["classes"]
    classes.append({"name": "one more", "training_count": 1, "group": "few"})
    change_manifest(folder, classes=classes[:kept])
    sentence = refusal(folder, errors.BundleGraphError)
    assert sentence.endswith(f"want head_cosine float32 [?, 2], logits float32 [?, {kept}]")


@pytest.mark.parametrize("version", [0, 2, 99])
def test_an_unknown_format_version(folder: Path, version: int) -> None:
    change_manifest(folder, format_version=version, something_new=True)
    sentence = refusal(folder, errors.BundleVersionError)
    assert sentence == (
        f"bundle tiny/1: manifest.json: format_version is {version} but this code reads 1; "
        "export the model again, or update Longtail"
    )


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "..", ".", "", "a\\b", ".hidden", "manifest.json"])
def test_a_checksum_of_something_that_is_no_plain_file_name(folder: Path, name: str) -> None:
    change_manifest(folder, sha256=read_manifest(folder)["sha256"] | {name: "0" * 64})
    sentence = refusal(folder, errors.ManifestError)
    assert (
        sentence == f"bundle tiny/1: manifest.json: sha256 key {name!r} is not the plain name of another file in here"
    )


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "README.md"])
def test_a_link_out_of_the_folder(folder: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    sentence = refusal(folder, errors.BundlePathError)
    assert sentence == (
        f"bundle tiny/1: {name} leads out of the folder, to {outside}; copy the file instead of linking it"
    )


def test_a_link_to_itself(folder: Path) -> None:
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to("README.md")
    assert refusal(folder, errors.BundleMissingFileError) == "bundle tiny/1: README.md is a link that leads nowhere"


def test_a_pipe_that_would_never_end(folder: Path) -> None:
    (folder / "README.md").unlink()
    os.mkfifo(folder / "README.md")
    assert refusal(folder, errors.BundlePathError) == "bundle tiny/1: README.md is not a regular file"


def test_a_folder_in_place_of_a_file(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()
    assert refusal(folder, errors.BundlePathError) == "bundle tiny/1: model.onnx is not a regular file"


def test_external_data_in_the_graph(folder: Path) -> None:
    model = TinyModel().onnx()
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "projection")
    onnx.external_data_helper.set_external_data(tensor, "../../secrets.bin")
    tensor.ClearField("raw_data")
    replace(folder, "model.onnx", model.SerializeToString())
    sentence = refusal(folder, errors.BundlePathError)
    assert sentence == (
        "bundle tiny/1: model.onnx keeps tensor 'projection' in another file (external data); export it as one file"
    )


@pytest.mark.parametrize("content", [b"", b"\x08", b"PK\x03\x04 not a graph", b"<html></html>", b"\xff" * 64])
def test_a_graph_that_is_garbage(folder: Path, content: bytes) -> None:
    replace(folder, "model.onnx", content)
    assert refusal(folder, errors.BundleGraphError).startswith("bundle tiny/1: model.onnx ")


def test_a_truncated_graph(folder: Path) -> None:
    content = (folder / "model.onnx").read_bytes()
    replace(folder, "model.onnx", content[: len(content) // 2])
    assert "model.onnx is truncated: a field ends" in refusal(folder, errors.BundleGraphError)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 7, b"\x02\0\0\0\0\0\0\0{}", struct.pack("<Q", 40) + b"{", b"\x80\x04pickle, not tensors", b"\0" * 99],
)
def test_safetensors_that_are_garbage(folder: Path, content: bytes) -> None:
    replace(folder, "head.safetensors", content)
    sentence = refusal(folder, errors.BundleShapeError)
    assert sentence.startswith("bundle tiny/1: head.safetensors ")


def test_safetensors_that_are_truncated(folder: Path) -> None:
    replace(folder, "head.safetensors", (folder / "head.safetensors").read_bytes()[:-4])
    assert "head.safetensors is not a safetensors file: " in refusal(folder, errors.BundleShapeError)


@pytest.mark.parametrize("header_bytes", [65537, 2**40, 2**64 - 1])
def test_a_huge_safetensors_header(folder: Path, header_bytes: int) -> None:
    replace(folder, "head.safetensors", struct.pack("<Q", header_bytes) + b" " * 70000)
    sentence = refusal(folder, errors.BundleShapeError)
    assert sentence == (
        f"bundle tiny/1: head.safetensors announces a header of {header_bytes} bytes; three tensors need a few hundred"
    )


def test_a_bundle_of_another_name(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    moved = folder.rename(tmp_path / "other" / "1")
    sentence = refusal(moved, errors.BundlePathError)
    assert sentence == "bundle other/1: manifest.json says it is tiny/1; name the folder so, or the link to it"


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("damaged"))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["model.onnx", "head.safetensors"]), st.data())
def test_no_damage_to_a_file_escapes_the_error_tree(victim: Path, name: str, data: Any) -> None:
    original = (victim / name).read_bytes()
    content = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    replace(victim, name, bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:  # a changed weight inside the graph cannot be told; everything else must be refused in the proper way
        load_bundle(victim)
    except errors.BundleError as error:
        assert str(error).startswith("bundle tiny/1: ")  # noqa: PT017  # either outcome is right
    finally:
        replace(victim, name, original)
